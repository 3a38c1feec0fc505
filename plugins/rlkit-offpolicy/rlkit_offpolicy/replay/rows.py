"""Rows of a replay buffer in preallocated memory: one array per leaf, and slots for what few rows have."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlkit_core.data.nested import Nested, leaves
from rlkit_core.errors import ConfigError
from rlkit_core.spaces import nested_map

Array = np.ndarray[Any, Any]
SMALL_BLOCK = 4096
"""Bytes of a block up to which its view is kept: a runner's next rollout is often in the same tensors."""
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def as_array(tensor: Tensor) -> Array:
    """A numpy view of a tensor's memory (of a copy, if it is not on the CPU).

    dtypes that numpy does not have (bfloat16) are seen as integers of their size: rows are copied, never computed
    with.
    """
    try:
        return tensor.numpy()
    except (TypeError, RuntimeError):
        tensor = tensor.detach().cpu()
    try:
        return tensor.numpy()
    except TypeError:
        return tensor.contiguous().view(_BITS[tensor.element_size()]).numpy()


class SeenArrays:
    """:func:`as_array` of small tensors by name, kept as long as it is the same tensor that comes."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Tensor, Array]] = {}

    def of(self, name: str, tensor: Tensor) -> Array:
        """A numpy view of a tensor's memory, or of a copy's; see :func:`as_array`."""
        known = self._seen.get(name)
        if known is not None and known[0] is tensor:
            return known[1]
        array = as_array(tensor)
        if array.nbytes <= SMALL_BLOCK and array.ctypes.data == tensor.data_ptr():  # a view, no copy
            self._seen[name] = tensor, array
        return array


class RowStore:
    """``rows`` rows of one leaf.

    Attributes:
        name: the column, for messages.
        tensor: ``[rows, *shape]``; memory is touched only where rows are written.
        array: the same memory as numpy sees it.
    """

    def __init__(self, name: str, rows: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.name, self.shape, self.dtype = name, shape, dtype
        self._seen: dict[int, tuple[Any, Array]] = {}
        self._set(torch.empty((rows, *shape), dtype=dtype))

    def _set(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.array = as_array(tensor)

    @classmethod
    def like(cls, name: str, rows: int, column: Nested, lead: int) -> Nested:
        """Stores for every leaf of ``column``, whose leaves have ``lead`` leading axes.

        Raises:
            ConfigError: a leaf is no tensor.
        """
        for leaf in leaves(column):
            if not isinstance(leaf, Tensor):
                raise ConfigError(
                    f"column {name!r} has parts without an array of one shape (Text, Sequence, Graph), which a replay "
                    "buffer cannot hold; use an encoder with a pack() that makes arrays of one shape of them"
                )
        return nested_map(lambda leaf: cls(name, rows, tuple(leaf.shape[lead:]), leaf.dtype), column)

    def rows_of(self, block: Any, lead: int) -> Array:
        """A block ``[..., *shape]`` with one or two leading axes as ``[rows, *shape]``.

        Raises:
            ConfigError: another shape or dtype than that of the rows here.
        """
        known = self._seen.get(lead)
        if known is not None and known[0] is block:
            return known[1]
        array: Array = as_array(block) if isinstance(block, Tensor) else np.empty(0, object)
        if array.shape[lead:] != self.shape or array.dtype != self.array.dtype or block.dtype != self.dtype:
            seen = f"{tuple(block.shape[lead:])} {block.dtype}" if isinstance(block, Tensor) else repr(block)
            raise ConfigError(
                f"column {self.name!r}: this buffer holds rows of {self.shape} {self.dtype}, and got {seen}; "
                "rollouts of one buffer must come from envs and modules with the same spaces (and what an encoder "
                "packs, graphs or texts, has to be of one shape: give it a setting that says which)"
            )
        if lead == 2:
            steps, envs = array.shape[:2]
            array = array.reshape(steps * envs, *self.shape)
        if array.nbytes <= SMALL_BLOCK and array.ctypes.data == block.data_ptr():  # a view, no copy
            self._seen[lead] = block, array
        return array

    def grow(self, rows: int) -> None:
        """Make room for ``rows`` rows in all; those there stay where they are."""
        if rows <= self.tensor.shape[0]:
            return
        bigger = torch.empty((rows, *self.shape), dtype=self.dtype)
        bigger[: self.tensor.shape[0]] = self.tensor
        self._set(bigger)


def put_ring(array: Array, at: int, rows: Array, size: int) -> None:
    """Write rows at ``at, at + 1, ...`` of a ring: the first ``size`` rows of ``array``."""
    stop = at + rows.shape[0]
    if stop <= size:
        array[at:stop] = rows
    else:
        array[at:size] = rows[: size - at]
        array[: stop - size] = rows[size - at :]


def ring_slices(at: int, count: int, size: int) -> list[slice]:
    """The one or two slices that hold ``count`` places of a ring from ``at`` on."""
    at %= size
    if at + count <= size:
        return [slice(at, at + count)]
    return [slice(at, size), slice(0, at + count - size)]


def run_of(places: Array) -> slice | Tensor:
    """Places of a ring that follow one another: a slice, or where they go over its end an index; copies are slower."""
    if len(places) > 1 and places[-1] > places[0]:
        return slice(int(places[0]), int(places[-1]) + 1)
    return torch.from_numpy(places)


class SlotPool:
    """Numbers of free places, for what only some rows have; grows by doubling."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._free = np.arange(capacity, dtype=np.int64)[::-1].copy()
        self._num_free = capacity

    @property
    def used(self) -> int:
        """Places that are taken."""
        return self.capacity - self._num_free

    def room_for(self, count: int) -> bool:
        """Make room for ``count`` more; True if the capacity has grown."""
        if count <= self._num_free:
            return False
        old, self.capacity = self.capacity, max(2 * self.capacity, self.used + count)
        fresh = np.arange(old, self.capacity, dtype=np.int64)[::-1]
        self._free = np.concatenate((fresh, self._free[: self._num_free], np.empty(old - self._num_free, np.int64)))
        self._num_free += self.capacity - old
        return True

    def take(self, count: int) -> Array:
        """``count`` free places, ``[count]`` int64."""
        self._num_free -= count
        slots: Array = self._free[self._num_free : self._num_free + count][::-1].copy()
        return slots

    def give_back(self, slots: Array) -> None:
        """These places are free again."""
        self._free[self._num_free : self._num_free + len(slots)] = slots
        self._num_free += len(slots)

    def get_state(self) -> dict[str, Any]:
        """Capacity and the free places, ``[F]`` int64, the one that is taken next at the end."""
        return {"capacity": self.capacity, "free": torch.from_numpy(self._free[: self._num_free].copy())}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`get_state`."""
        self.capacity = int(state["capacity"])
        free = as_array(torch.as_tensor(state["free"]))
        self._free, self._num_free = np.zeros(self.capacity, np.int64), len(free)
        self._free[: len(free)] = free
