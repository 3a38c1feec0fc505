"""What acting carries from one own step of an agent to its next: recurrent state, previous action and reward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested, map_leaves
from rlkit_core.data.sequences import max_seq_len
from rlkit_core.envs.multi_agent.blocks import Array, Block
from rlkit_core.models.base import PREV_ACTIONS, PREV_REWARDS
from rlkit_core.models.previous import no_previous_action
from rlkit_core.spaces import nested_map

if TYPE_CHECKING:
    from rlkit_core.rl_module import RLModule


class SlotMemory:
    """Memory of N slots, as the module wants it; see :class:`~rlkit_core.envs.memory.ActingMemory`.

    Args:
        module: the module that acts.

    Attributes:
        stateful: the module is recurrent.
        seq_len: steps that a recurrent module is trained with at once; None for others.
        previous: which previous inputs it reads.

    Raises:
        ConfigError: the module is recurrent without ``max_seq_len``.
    """

    def __init__(self, module: RLModule) -> None:
        self._module = module
        columns = getattr(module, "input_columns", ())
        self.stateful: bool = module.is_stateful()
        self.seq_len = max_seq_len(module) if self.stateful else None
        self.previous = tuple(name for name in (PREV_ACTIONS, PREV_REWARDS) if name in columns)
        self._none = no_previous_action(module, 1) if PREV_ACTIONS in columns else None
        self._initial: Nested = {}  # [1, ...]
        self._now: dict[str, Nested] = {}  # inputs of the next step, [N, ...]
        self._before: Nested = None  # states that the last step of each slot began with
        self._stored: Block | None = None
        self._fresh: list[int] = []
        self.refresh()

    @classmethod
    def of(cls, module: RLModule) -> SlotMemory | None:
        """The memory that a module wants; None where it wants none."""
        memory = cls(module)
        return memory if memory.stateful or memory.previous else None

    def refresh(self) -> None:
        """Read the module's initial state anew; it may be learned."""
        if self.stateful:
            self._initial = map_leaves(
                lambda leaf: torch.as_tensor(leaf).detach().clone()[None], self._module.get_initial_state()
            )

    def resize(self, rows: int, width: int) -> None:
        """Have room for so many rows and slots; new slots are at an episode's start."""
        if self.stateful:
            assert self.seq_len is not None
            grids = -(-rows // self.seq_len)
            if self._stored is None:
                self._stored = Block.like(self._initial, grids, width)
            else:
                self._stored.resize(grids, width)
            self._before = self._widened(self._before, self._initial, width)
        for name, first in self._starts().items():
            self._now[name] = self._widened(self._now.get(name), first, width)

    def _starts(self) -> dict[str, Nested]:
        """What is read at an episode's start, ``[1, ...]``."""
        starts: dict[str, Nested] = {}
        if self.stateful:
            starts[Columns.STATE_IN] = self._initial
        if PREV_ACTIONS in self.previous:
            starts[PREV_ACTIONS] = self._none
        if PREV_REWARDS in self.previous:
            starts[PREV_REWARDS] = torch.zeros(1)
        return starts

    @staticmethod
    def _widened(now: Nested | None, first: Nested, width: int) -> Nested:
        new = map_leaves(lambda x: x.expand(width, *x.shape[1:]).clone(), first)
        if now is not None:
            map_leaves(lambda target, old: target[: len(old)].copy_(old), new, now)
        return new

    def start(self, slot: int) -> None:
        """Let a slot be at an episode's start."""
        self._fresh.append(slot)

    def inputs(self, slots: Array | None) -> dict[str, Nested]:
        """Columns of the next step beside observations, ``[M, ...]``, of these slots or of all."""
        if self._fresh:
            fresh, self._fresh = torch.tensor(self._fresh), []
            for name, first in self._starts().items():
                map_leaves(
                    lambda now, one: now.index_copy_(0, fresh, one.to(now.dtype).expand(len(fresh), *one.shape[1:])),
                    self._now[name],
                    first,
                )
        if slots is None:
            return dict(self._now)
        index = torch.from_numpy(slots)
        return {name: map_leaves(lambda x: x.index_select(0, index), now) for name, now in self._now.items()}

    def acted(self, slots: Array | None, rows: Array, inputs: dict[str, Nested], out: dict[str, Nested]) -> None:
        """Take in a step of these slots, or of all.

        Args:
            slots: ``[M]`` int64; None: all N.
            rows: ``[M]`` int64, in which row of its column each of them acted.
            inputs: what :meth:`inputs` gave.
            out: what the sampler returned; the state is taken out of it.
        """
        if self.stateful:
            assert self._stored is not None
            assert self.seq_len is not None
            state_in, state_out = inputs[Columns.STATE_IN], out.pop(Columns.STATE_OUT)
            due = np.flatnonzero(rows % self.seq_len == 0)
            if len(due):
                where = due if slots is None else slots[due]
                picked = torch.from_numpy(due)
                places = rows[due] // self.seq_len * self._stored.width + where
                self._stored.write(places, map_leaves(lambda x: x.index_select(0, picked), state_in))
            self._before = self._put(self._before, slots, state_in)
            self._now[Columns.STATE_IN] = self._put(self._now[Columns.STATE_IN], slots, state_out)
        if PREV_ACTIONS in self.previous:
            self._now[PREV_ACTIONS] = self._put(self._now[PREV_ACTIONS], slots, out[Columns.ACTIONS])

    @staticmethod
    def _put(now: Nested, slots: Array | None, new: Nested) -> Nested:
        if slots is None:  # a copy, since some of it may be written to later
            return map_leaves(torch.clone, new)
        index = torch.from_numpy(slots)
        return map_leaves(lambda x, y: x.index_copy_(0, index, y.to(x.dtype)), now, new)

    def rewarded(self, slots: Array, rewards: Array) -> None:
        """Take in what the last steps of some slots have brought, each ``[M]``."""
        if PREV_REWARDS in self.previous:
            self._now[PREV_REWARDS].index_copy_(0, torch.from_numpy(slots), torch.from_numpy(rewards))

    def carry(self, waiting: Array) -> None:
        """Make the states that the steps of ``waiting`` slots began with those before row 0."""
        if self._stored is not None and len(waiting):
            index = torch.from_numpy(waiting)
            self._stored.write(waiting, map_leaves(lambda x: x.index_select(0, index), self._before))

    def get_state(self) -> dict[str, Any]:
        """Arrays of what the slots' next steps read, and of what belongs to their last ones."""
        stored = None if self._stored is None else nested_map(np.copy, self._stored.arrays)
        before = None if self._before is None else _arrays(self._before)
        return {
            "now": {name: _arrays(now) for name, now in self._now.items()},
            "before": before,
            "stored": stored,
            "fresh": list(self._fresh),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`get_state`, with as many slots.

        Raises:
            ValueError: it is another module's.
        """
        if state["now"].keys() != self._now.keys():
            raise ValueError(
                f"the module reads {list(self._now)} of previous steps, and there are {list(state['now'])}"
            )
        self._now = {name: map_leaves(_back, state["now"][name], now) for name, now in self._now.items()}
        if self._before is not None:
            self._before = map_leaves(_back, state["before"], self._before)
        if self._stored is not None:
            # All of it: what was there before is seen where a column has no steps, though it is masked.
            map_leaves(np.copyto, self._stored.arrays, state["stored"])
        self._fresh = [int(slot) for slot in state["fresh"]]

    def states(self, steps: int) -> Nested:
        """States before rows ``0, seq_len, ...`` of the first ``steps`` rows, ``[G, N, ...]``."""
        assert self._stored is not None
        assert self.seq_len is not None
        return self._stored.steps(-(-steps // self.seq_len))


def _arrays(values: Nested) -> Nested:
    return map_leaves(lambda x: x.numpy().copy(), values)


def _back(kept: Array, like: Tensor) -> Tensor:
    if kept.shape != tuple(like.shape):
        raise ValueError(f"the module reads {tuple(like.shape)} of previous steps, and there are {kept.shape}")
    return torch.from_numpy(np.array(kept))
