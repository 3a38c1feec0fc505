"""Nested columns: a tensor, or dicts and tuples of tensors, as a composed space gives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rlkit_core.spaces import nested_map

#: ``map_leaves(function, struct, *more)``: apply a function to each leaf, keeping the structure.
map_leaves = nested_map
#: A tensor, or a dict or tuple whose leaves are tensors.
Nested = Any


def leaves(struct: Nested) -> Iterator[Any]:
    """Each leaf, in the order of :func:`map_leaves`."""
    if isinstance(struct, dict):
        for value in struct.values():
            yield from leaves(value)
    elif isinstance(struct, (tuple, list)):
        for value in struct:
            yield from leaves(value)
    else:
        yield struct


def first_leaf(struct: Nested) -> Any:
    """The first leaf; its leading axes are those of the whole structure."""
    if isinstance(struct, dict):  # mostly the columns of a rollout
        for value in struct.values():
            if isinstance(value, torch.Tensor):
                return value
            break
    return next(leaves(struct))


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
