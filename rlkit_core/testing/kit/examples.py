"""Small spaces of each class, and rows of them as a module sees them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

from rlkit_core.data.nested import Nested, has_array, map_leaves
from rlkit_core.rl_module.deploy import to_tensor
from rlkit_core.rl_module.packing import ObservationPacker
from rlkit_core.spaces import map_space

Space = gym.Space[Any]

#: Settings of the core's own networks, small; a component's own keep their defaults.
SMALL: Mapping[str, Any] = {
    "fcnet_hiddens": [8],
    "fusionnet_hiddens": [8],
    "head_fcnet_hiddens": [8],
    "lstm_cell_size": 8,
    "max_seq_len": 4,
}

ROWS = 5
"""Rows of a batch; what is asked of them holds for one row as well."""


def _vector() -> Space:
    return spaces.Box(-1.0, 1.0, (3,), np.float32)


_EXAMPLES: dict[type, Callable[[], list[Space]]] = {
    spaces.Box: lambda: [
        _vector(),
        spaces.Box(-np.inf, np.inf, (7,), np.float64),
        spaces.Box(-1.0, 1.0, (), np.float32),
        spaces.Box(0, 255, (16, 16, 3), np.uint8),
        spaces.Box(-1.0, 1.0, (16, 12), np.float32),
        spaces.Box(0, 7, (5, 5), np.int64),
    ],
    spaces.Discrete: lambda: [spaces.Discrete(4), spaces.Discrete(3, start=-1)],
    spaces.MultiDiscrete: lambda: [spaces.MultiDiscrete([3, 2]), spaces.MultiDiscrete(np.array([[2, 3], [4, 2]]))],
    spaces.MultiBinary: lambda: [spaces.MultiBinary(4), spaces.MultiBinary([2, 3])],
    spaces.Dict: lambda: [
        spaces.Dict({"a": _vector(), "b": spaces.Discrete(3)}),
        spaces.Dict({"x": spaces.Dict({"y": _vector()}), "z": spaces.MultiBinary(2)}),
    ],
    spaces.Tuple: lambda: [spaces.Tuple((_vector(), spaces.Discrete(3)))],
    spaces.Text: lambda: [spaces.Text(6), spaces.Text(4, charset="ab ")],
    spaces.Sequence: lambda: [spaces.Sequence(_vector()), spaces.Sequence(spaces.Discrete(4), stack=True)],
    spaces.Graph: lambda: [
        spaces.Graph(_vector(), None),
        spaces.Graph(spaces.Box(-1.0, 1.0, (2,)), spaces.Discrete(3)),
        spaces.Graph(spaces.Discrete(4), spaces.Box(-1.0, 1.0, (2,))),
    ],
    spaces.OneOf: lambda: [spaces.OneOf((_vector(), spaces.Discrete(3)))],
}

_OF_ACTIONS = (spaces.Discrete, spaces.Box, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Dict, spaces.Tuple)


def example_spaces(classes: Iterable[type]) -> list[Space]:
    """Small spaces of these classes (of all, for ``gymnasium.Space``); none of classes that the kit does not know."""
    kinds = [kind for kind in _EXAMPLES if any(issubclass(kind, cls) for cls in classes)]
    return [example for kind in kinds for example in _EXAMPLES[kind]()]


def example_actions(classes: Iterable[type]) -> list[Space]:
    """The same of action spaces: for ``gymnasium.Space`` those that the core serves, and no Box of integers."""
    some = [cls for cls in classes if cls is not gym.Space] or _OF_ACTIONS
    found = example_spaces(some)
    return [one for one in found if not isinstance(one, spaces.Box) or np.issubdtype(one.dtype, np.floating)]


def unknown_classes(classes: Iterable[type]) -> list[type]:
    """Those of which the kit has no example."""
    return [cls for cls in classes if not any(issubclass(kind, cls) for kind in _EXAMPLES)]


def example_rows(space: Space, count: int, *, seed: int = 0) -> list[Any]:
    """Elements of a space, the same ones for the same seed."""
    space = copy.deepcopy(space)
    space.seed(seed)
    return [space.sample() for _ in range(count)]


def as_tensors(space: Space, rows: Sequence[Any], packer: ObservationPacker | None = None) -> Nested:
    """Rows as the tensors that a module is given, ``(B, ...)``, packed where they are no arrays."""

    def together(leaf: Space, *values: object) -> object:
        return np.stack([np.asarray(one, leaf.dtype) for one in values]) if has_array(leaf) else list(values)

    batch = map_space(together, space, *rows)
    if packer is not None:
        batch = packer(batch)
    return map_space(
        lambda leaf, x: to_tensor(x, wide=leaf.dtype == np.float64) if has_array(leaf) else x, space, batch
    )


def with_time(batch: Nested, steps: int) -> Nested:
    """``(B, ...)`` as ``(B, T, ...)``, each row again and again."""
    return map_leaves(lambda x: torch.stack([x] * steps, 1), batch)


def row(batch: Nested, index: int) -> Nested:
    """One row of a batch, as a batch."""
    return map_leaves(lambda x: x[index : index + 1], batch)
