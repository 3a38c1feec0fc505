"""A policy as one torch module of flat tensors: observation and memory in, action in env units and memory out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from attrs import frozen
from torch import Tensor, nn

from rlkit_core import Columns
from rlkit_core.errors import ConfigError
from rlkit_core.models.base import PREV_ACTIONS, PREV_REWARDS
from rlkit_core.models.previous import no_previous_action
from rlkit_core.rl_module import ActionSampler, RLModule
from rlkit_core.spaces import describe, leaves, map_space, nested_map
from rlkit_tools.export.wrappers import Fold

Path = tuple[str | int, ...]


@frozen
class Leaf:
    """One array that goes in or comes out, without its batch axis.

    Attributes:
        name: of the graph's input.
        path: where it is in an observation; None of the reward of the step before.
        dtype: numpy's name.
    """

    name: str
    path: Path | None
    dtype: str
    shape: tuple[int, ...]


@frozen
class Memory:
    """One array that is carried from step to step.

    Attributes:
        initial: its value where an episode begins: a number, or nested lists.
    """

    input: str
    output: str
    dtype: str
    shape: tuple[int, ...]
    initial: Any


class PolicyGraph(nn.Module):
    """What a module does without exploring, from observations to the env's actions.

    ``forward(*inputs)`` takes ``inputs`` and then ``memory``, and gives the leaves of the action and then the memory,
    all with a batch axis in front.

    Args:
        module: acts, in eval mode.
        space: of the observations that come in; the module's unless given.
        folds: what makes of them those that the module takes, one after the other.

    Raises:
        ConfigError: it is no torch module, or observations are no arrays.

    Attributes:
        inputs: leaves of the observation and, where the module reads it, the reward.
        memory: recurrent state and, where the module reads it, the previous action.
        outputs: names of everything that comes out.
        action: names in the structure of the action.
    """

    def __init__(self, module: RLModule, space: gym.Space[Any] | None = None, folds: Sequence[Fold] = ()) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise ConfigError(f"{type(module).__name__} is no torch module, and torch alone writes graphs")
        self.module = module
        self._sampler = ActionSampler(module, explore=False)
        self._space = cast("gym.Space[Any]", module.observation_space if space is None else space)
        self._folds = folds
        seen = _structure_of(self._space)
        self._obs = _numbered(seen)
        found = zip(_paths(seen), leaves(seen), strict=True)
        self.inputs = [Leaf(_name("obs", path), path, *_array_of(space, path)) for path, space in found]
        read: tuple[str, ...] = tuple(getattr(module, "input_columns", ()))
        self._reward = PREV_REWARDS in read
        if self._reward:
            self.inputs.append(Leaf("reward", None, "float32", ()))
        carried: dict[str, Any] = {}
        if module.is_stateful():
            carried["state"] = nested_map(lambda x: torch.as_tensor(x)[None], module.get_initial_state())
        if PREV_ACTIONS in read:
            carried["prev_action"] = no_previous_action(module, 1)
        self._carried, self.start = carried, [torch.as_tensor(x) for x in leaves(carried)]
        names = [_name(head, path) for head, value in carried.items() for path in _paths(value)]
        self.memory = [
            Memory(name, f"next_{name}", _dtype(x), tuple(x.shape[1:]), _plain(x[0].numpy()))
            for name, x in zip(names, self.start, strict=True)
        ]
        actions, self.action = self._named_action()
        self.outputs = [*actions, *(one.output for one in self.memory)]

    def example(self, rows: int) -> tuple[Tensor, ...]:
        """Inputs of a batch: observations from the space, at the beginning of an episode."""
        drawn = [self._space.sample() for _ in range(rows)]
        columns = []
        for leaf in self.inputs:
            values = [0.0 if leaf.path is None else _at(one, leaf.path) for one in drawn]
            columns.append(torch.from_numpy(np.stack([np.asarray(value, leaf.dtype) for value in values])))
        return (*columns, *(x.expand(rows, *x.shape[1:]).clone() for x in self.start))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Act on tensors ``(B, ...)`` in the order of ``inputs`` and ``memory``."""
        count = len(self.inputs)
        seen = nested_map(lambda at: inputs[at], self._obs)
        for function in self._folds:
            seen = function(seen)
        batch: dict[str, Any] = {Columns.OBS: seen}
        if self._reward:
            batch[PREV_REWARDS] = inputs[count - 1]
        rest = iter(inputs[count:])
        carried = nested_map(lambda _: next(rest), self._carried)
        if "state" in carried:
            batch[Columns.STATE_IN] = carried["state"]
        if "prev_action" in carried:
            batch[PREV_ACTIONS] = carried["prev_action"]
        out = self._sampler(batch)
        raw = out[Columns.ACTIONS]
        after = {"state": out.get(Columns.STATE_OUT), "prev_action": raw}
        kept = [x for head in carried for x in leaves(_ordered_as(carried[head], after[head]))]
        # The memory keeps its dtype; an output of its own, where an action is also remembered.
        kept = [x.to(was.dtype) + 0 for x, was in zip(kept, leaves(carried), strict=True)]
        return (*leaves(_ordered_as(self._action_at, self.module.actions_to_env(raw))), *kept)

    def _named_action(self) -> tuple[list[str], Any]:
        space: Any = self.module.action_space
        self._action_at = _numbered(_structure_of(space))
        names = [_name("action", path) for path in _paths(self._action_at)]
        return names, nested_map(lambda at: names[at], self._action_at)


def _structure_of(space: gym.Space[Any]) -> Any:
    """The leaf spaces as nested dicts and tuples."""
    return map_space(lambda leaf: leaf, space)


def _numbered(structure: object) -> Any:
    """The number of each leaf, in the same structure."""
    numbers = itertools.count()
    return nested_map(lambda _: next(numbers), structure)


def _paths(value: object, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _paths(part, (*path, key))
    elif isinstance(value, tuple | list):
        for index, part in enumerate(value):
            yield from _paths(part, (*path, index))
    else:
        yield path


def _ordered_as(like: Any, value: Any) -> Any:
    """``value`` with the keys of its dicts in the order of ``like``'s."""
    return nested_map(lambda _, one: one, like, value)


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def _name(head: str, path: Path) -> str:
    return ".".join([head, *map(str, path)])


def _array_of(space: gym.Space[Any], path: Path) -> tuple[str, tuple[int, ...]]:
    if space.shape is None or space.dtype is None or np.dtype(space.dtype).kind not in "biuf":
        place = "".join(f"[{key!r}]" for key in path)
        raise ConfigError(
            f"observation{place} is {describe(space)}, which is no array of fixed shape: Python code of the encoder "
            "reads it, and a graph holds none"
        )
    return np.dtype(space.dtype).name, tuple(space.shape)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _plain(array: np.ndarray[Any, Any]) -> Any:
    """One number where all elements are equal, else nested lists."""
    flat = array.reshape(-1)
    return flat[0].item() if flat.size and (flat == flat[0]).all() else array.tolist()
