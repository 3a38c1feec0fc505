"""What acting carries from one step to the next: recurrent state, and the previous action and reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested, map_leaves
from rlkit_core.models.base import PREV_ACTIONS, PREV_REWARDS
from rlkit_core.models.previous import no_previous_action

if TYPE_CHECKING:
    from rlkit_core.rl_module import RLModule

Bools = np.ndarray[Any, np.dtype[np.bool_]]


class ActingMemory:
    """Memory of N envs; where an episode begins, it is that of an episode's start.

    A previous action is the raw one. At an episode's start it is zero, and -1 for integers that name a choice
    (Discrete, MultiDiscrete), which stands for none; the previous reward is zero.

    Args:
        module: the module that acts.
        num_envs: N.
        device: where it is; the CPU unless given.
    """

    def __init__(self, module: Any, num_envs: int, device: torch.device | None = None) -> None:
        self._module, self._num_envs, self._device = module, num_envs, device or torch.device("cpu")
        self.stateful: bool = module.is_stateful()
        columns = getattr(module, "input_columns", ())
        self.previous = tuple(name for name in (PREV_ACTIONS, PREV_REWARDS) if name in columns)
        self._none = None
        if PREV_ACTIONS in columns:
            none = no_previous_action(module, num_envs)
            self._none = map_leaves(lambda x: x.to(self._device), none)
        self._inputs: dict[str, Nested] = {}
        self._initial: Nested = {}
        self.begin()

    @classmethod
    def of(cls, module: RLModule, num_envs: int, device: torch.device | None = None) -> ActingMemory | None:
        """The memory that a module wants; None where it wants none."""
        memory = cls(module, num_envs, device)
        return memory if memory.stateful or memory.previous else None

    def begin(self) -> None:
        """Let every env be at an episode's start."""
        self.refresh()
        if self.stateful:
            self._inputs[Columns.STATE_IN] = self._initial
        if PREV_ACTIONS in self.previous:
            self._inputs[PREV_ACTIONS] = self._none
        if PREV_REWARDS in self.previous:
            self._inputs[PREV_REWARDS] = torch.zeros(self._num_envs, device=self._device)

    def refresh(self) -> None:
        """Read the module's initial state anew; it may be learned."""
        if self.stateful:

            def rows(leaf: np.ndarray[Any, Any]) -> Tensor:
                tensor = torch.as_tensor(leaf).detach().to(self._device)
                return tensor.expand(self._num_envs, *tensor.shape).clone()

            self._initial = map_leaves(rows, self._module.get_initial_state())

    @property
    def inputs(self) -> dict[str, Nested]:
        """Columns that the next step's batch has beside ``obs``, ``[N, ...]``."""
        return self._inputs

    def remember(self, out: dict[str, Nested], rewards: np.ndarray[Any, Any] | Tensor, starts: Bools | Tensor) -> None:
        """Take in a step.

        Args:
            out: what the sampler returned; the state is taken out of it.
            rewards: ``[N]``.
            starts: ``[N]`` bool, the next row is an episode's first.
        """
        inputs: dict[str, Nested] = {}
        fresh = self._own(starts) if starts.any() else None
        if self.stateful:
            inputs[Columns.STATE_IN] = _reset(out.pop(Columns.STATE_OUT), self._initial, fresh)
        if PREV_ACTIONS in self.previous:
            inputs[PREV_ACTIONS] = _reset(out[Columns.ACTIONS], self._none, fresh)
        if PREV_REWARDS in self.previous:
            previous = self._own(rewards)
            inputs[PREV_REWARDS] = _reset(previous, torch.zeros_like(previous), fresh)
        self._inputs = inputs

    def _own(self, values: np.ndarray[Any, Any] | Tensor) -> Tensor:
        """A copy, on its device."""
        return torch.as_tensor(values, device=self._device).clone()

    def begin_some(self, envs: Sequence[int]) -> None:
        """Let some envs be at an episode's start."""
        fresh = torch.zeros(self._num_envs, dtype=torch.bool, device=self._device)
        fresh[list(envs)] = True
        rewards = torch.zeros(self._num_envs, device=self._device)
        starts = {Columns.STATE_IN: self._initial, PREV_ACTIONS: self._none, PREV_REWARDS: rewards}
        self._inputs = {name: _reset(column, starts[name], fresh) for name, column in self._inputs.items()}

    def get_state(self) -> dict[str, Nested]:
        """Arrays of what the next step reads, ``[N, ...]``."""
        return {name: map_leaves(lambda x: x.numpy().copy(), column) for name, column in self._inputs.items()}

    def set_state(self, state: Mapping[str, Nested], fresh: Bools) -> None:
        """Go on from :meth:`get_state`, but at an episode's start where ``fresh [N]`` is True.

        Raises:
            ValueError: it is another module's.
        """
        self.begin()
        if state.keys() != self._inputs.keys():
            raise ValueError(f"the module reads {list(self._inputs)} of previous steps, and there are {list(state)}")
        starts = torch.from_numpy(fresh.copy())

        def back(value: np.ndarray[Any, Any], first: Tensor) -> Tensor:
            if value.shape != tuple(first.shape):
                raise ValueError(f"it reads {tuple(first.shape)} of previous steps, and there are {value.shape}")
            kept = torch.from_numpy(np.array(value))
            return torch.where(starts.view(-1, *(1,) * (kept.dim() - 1)), first.to(kept.dtype), kept)

        self._inputs = {name: map_leaves(back, state[name], first) for name, first in self._inputs.items()}

    def copied(self, name: str) -> Nested:
        """A copy of one input column, outside of inference mode."""
        return map_leaves(lambda x: torch.empty_like(x).copy_(x), self._inputs[name])


def _reset(column: Nested, start: Nested, fresh: Tensor | None) -> Nested:
    """A column ``[N, ...]``, with that of an episode's start where ``fresh [N]`` is True; None: nowhere."""
    if fresh is None:
        return column

    def reset(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(fresh.view(-1, *(1,) * (new.dim() - 1)), old.to(new.dtype), new)

    return map_leaves(reset, column, start)
