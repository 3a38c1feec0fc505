"""Nested columns: a tensor, or dicts and tuples of tensors, as a composed space gives them.

Observations also come as numpy arrays, of objects where a leaf has no fixed array (Text, Sequence, Graph).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from rlkit_core.spaces import batch_zeros, map_space, nested_map
from rlkit_core.spaces import leaves as leaves

#: ``map_leaves(function, struct, *more)``: apply a function to each leaf, keeping the structure.
map_leaves = nested_map
#: A tensor, or a dict or tuple whose leaves are tensors.
Nested = Any


def first_leaf(struct: Nested) -> Any:
    """The first leaf; its leading axes are those of the whole structure."""
    first = next(iter(struct.values()), None) if type(struct) is dict else struct
    return first if isinstance(first, Tensor) else next(leaves(struct))


def flatten_time(struct: Nested) -> Nested:
    """``[T, N, ...]`` to ``[T * N, ...]``, without a copy where memory allows."""
    return map_leaves(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), struct)


def index_rows(struct: Nested, rows: Tensor) -> Nested:
    """Rows of every leaf, ``[B, ...]`` to ``[len(rows), ...]``, as a copy."""
    return map_leaves(lambda x: x.index_select(0, rows), struct)


def slice_rows(struct: Nested, start: int, stop: int) -> Nested:
    """Rows ``start:stop`` of every leaf, as views."""
    return map_leaves(lambda x: x[start:stop], struct)


def stack(structs: list[Nested]) -> Nested:
    """One structure with a new leading axis from several of the same shape."""
    return map_leaves(lambda *xs: torch.stack(xs), structs[0], *structs[1:])


def cat(structs: list[Nested]) -> Nested:
    """One structure from several along the first axis."""
    return map_leaves(lambda *xs: torch.cat(xs), structs[0], *structs[1:])


def join(structs: Sequence[Nested], dim: int, like: Nested = None) -> Nested:
    """Leaves joined along ``dim``; axes behind it are filled up with zeros to the largest, and to those of ``like``.

    Args:
        structs: of the same structure.
        dim: axis to join along; those before it agree.
        like: of the same structure, with one leading axis.
    """
    if like is None:
        return map_leaves(lambda *parts: _padded(parts, dim, ()), *structs)
    return map_leaves(lambda reference, *parts: _padded(parts, dim, (reference.shape[1:],)), like, *structs)


def _padded(parts: Sequence[Tensor], dim: int, at_least: Sequence[Sequence[int]]) -> Tensor:
    sizes = {tuple(size) for size in (*(part.shape[dim + 1 :] for part in parts), *at_least)}
    if len(sizes) == 1:
        return torch.cat(tuple(parts), dim)
    rest = [max(lengths) for lengths in zip(*sizes, strict=True)]
    joined = parts[0].new_zeros((*parts[0].shape[:dim], sum(part.shape[dim] for part in parts), *rest))
    start = 0
    for part in parts:
        stop = start + part.shape[dim]
        place = (slice(None),) * dim + (slice(start, stop), *(slice(0, length) for length in part.shape[dim + 1 :]))
        joined[place] = part
        start = stop
    return joined


# -- room for observations ------------------------------------------------------------------------------------------


def has_array(space: gym.Space[Any]) -> bool:
    """Whether observations of a leaf space are arrays of one shape."""
    variable = (gym.spaces.Text, gym.spaces.Sequence, gym.spaces.Graph, gym.spaces.OneOf)
    return not isinstance(space, variable) and space.shape is not None and space.dtype is not None


def storage(space: gym.Space[Any], lead: tuple[int, ...]) -> Nested:
    """Arrays ``[*lead, ...]`` for observations; leaves without a fixed array get arrays of objects ``[*lead]``."""
    return map_space(lambda leaf: batch_zeros(leaf, lead) if has_array(leaf) else np.empty(lead, dtype=object), space)


def own_copy(space: gym.Space[Any], observation: Nested) -> Nested:
    """A copy of one observation that does not change with the env's own."""
    return map_space(
        lambda leaf, value: np.array(value) if has_array(leaf) else copy.deepcopy(value), space, observation
    )
