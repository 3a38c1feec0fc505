"""Arrays ``[R, N, ...]`` that grow: R rows of N slots, read and written at flat positions ``row * N + slot``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit_core.data.nested import Nested, leaves, storage
from rlkit_core.envs.checks.leaves import LeafChecks
from rlkit_core.envs.vector import row_writer
from rlkit_core.spaces import nested_map

Array = NDArray[Any]
Places = Array
"""``[M]`` int64, flat positions ``row * N + slot``."""


class Block:
    """Nested arrays ``[R, N, ...]`` in one memory for numpy and torch; of objects where a leaf has no fixed array.

    Args:
        arrays: the numpy arrays.

    Attributes:
        arrays: ``[R, N, ...]``.
        flat: the same as ``[R * N, ...]``; a write to one is a write to the other.
        width: N.
    """

    def __init__(self, arrays: Nested) -> None:
        self._take(arrays)

    @classmethod
    def of_space(cls, space: gym.Space[Any], rows: int, width: int) -> Block:
        """Room for elements of a space."""
        return cls(storage(space, (rows, width)))

    @classmethod
    def like(cls, values: Nested, rows: int, width: int) -> Block:
        """Room for tensors ``[M, ...]`` of this kind."""

        def room(value: Tensor) -> Array:
            one = value.detach().numpy()
            return np.zeros((rows, width, *one.shape[1:]), one.dtype)

        return cls(nested_map(room, values))

    @classmethod
    def of(cls, dtype: type[Any], rows: int, width: int) -> Block:
        """Room for plain numbers or flags."""
        return cls(np.zeros((rows, width), dtype))

    def _take(self, arrays: Nested) -> None:
        self.arrays = arrays
        self.flat: Nested = nested_map(lambda a: a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]), arrays)
        with torch.inference_mode(False):  # what a learner gets must be ordinary tensors
            self._tensors: Nested = nested_map(lambda a: a if a.dtype == object else torch.from_numpy(a), arrays)
        self._rows: dict[int, Nested] = {}
        self.width = int(next(leaves(arrays)).shape[1])
        self._one = arrays if isinstance(arrays, np.ndarray) else None

    def resize(self, rows: int, width: int) -> None:
        """More rows or slots; what is there keeps its row and slot."""

        def grown(old: Array) -> Array:
            new = np.empty((rows, width, *old.shape[2:]), old.dtype)
            new[...] = None if old.dtype == object else 0
            new[: old.shape[0], : old.shape[1]] = old
            return new

        self._take(nested_map(grown, self.arrays))

    # -- whole rows -----------------------------------------------------------------------------------------------

    def row(self, row: int) -> Nested:
        """Row ``row``, ``[N, ...]``: tensors in the block's memory (arrays of objects as they are)."""
        found = self._rows.get(row)
        if found is None:
            found = self._rows[row] = nested_map(lambda x: x[row], self._tensors)
        return found

    def steps(self, stop: int) -> Nested:
        """The first ``stop`` rows, ``[stop, N, ...]``, in the block's memory."""
        return nested_map(lambda x: x[:stop], self._tensors)

    def write_row(self, row: int, values: Nested) -> None:
        """Write tensors ``[N, ...]`` into a row."""
        if self._one is not None:
            self._one[row] = values.numpy()
            return

        def put(array: Array, value: Tensor) -> None:
            array[row] = value.numpy()

        nested_map(put, self.arrays, values)

    # -- some places ----------------------------------------------------------------------------------------------

    def gather(self, places: Places) -> Nested:
        """What is at some places, ``[M, ...]``, as a copy: tensors (arrays of objects where there are none)."""
        return nested_map(lambda a: _tensor(a[places]), self.flat)

    def write(self, places: Places, values: Nested) -> None:
        """Write tensors ``[M, ...]`` to some places."""
        if self._one is not None:
            self.flat[places] = values.numpy()
            return

        def put(array: Array, value: Tensor) -> None:
            array[places] = value.numpy()

        nested_map(put, self.flat, values)

    def move(self, source: Places, target: Places) -> None:
        """Copy what is at some places to others."""
        for leaf in leaves(self.flat):
            leaf[target] = leaf[source]

    def clear(self) -> None:
        """Zero everywhere."""
        for leaf in leaves(self.arrays):
            leaf[...] = 0

    def chosen(self, places: Array) -> Nested:
        """What is at ``places [T, N]``, as a copy ``[T, N, ...]``: tensors."""
        return nested_map(lambda a: _tensor(a[places]), self.flat)


class ObservationBlock(Block):
    """A block of observations (or of another space's elements) that envs write to one by one.

    Args:
        space: of one observation.
        rows: R.
        width: N.
        what: what messages call it.

    Attributes:
        space: of one observation.
        put: ``put(flat, place, observation)`` writes one, to be called with :attr:`flat`; it raises ValueError,
            TypeError, KeyError or IndexError where it does not fit.
    """

    def __init__(self, space: gym.Space[Any], rows: int, width: int, what: str = "observation") -> None:
        self.space = space
        self.put: Callable[[Nested, int, Any], None] = row_writer(space)
        super().__init__(storage(space, (rows, width)))
        self.plain = self._one is not None and self._one.dtype != object
        """Whether ``flat[place] = observation`` does what :attr:`put` does, and quicker."""
        self._checks = LeafChecks(space, what)
        self._holds = [_anything if check is None else check.holds for check in self._checks.each]
        self._looks = any(check is not None for check in self._checks.each)

    def read(self, row: int, places: Places | None) -> tuple[Nested, bool]:
        """A whole row, or what is at some places, for a module to read; and whether it is well.

        Returns:
            Tensors ``[M, ...]`` (arrays of objects where there are none), and whether they add up to finite sums, and
            choices are those that there are.
        """
        one = self._one
        if one is None:
            arrays = nested_map(lambda a: a[row], self.arrays) if places is None else self._taken(places)
            if not self._looks:
                return nested_map(_tensor, arrays), True
            well = all(holds(leaf) for holds, leaf in zip(self._holds, leaves(arrays), strict=True))
            return nested_map(_tensor, arrays), well
        array = one[row] if places is None else self.flat[places]
        return (self.row(row) if places is None else _tensor(array)), self._holds[0](array)

    def problem(self, place: int) -> tuple[str, bool]:
        """What is wrong at a place; see :meth:`problem_of`."""
        return self.problem_of(nested_map(lambda leaf: leaf[place], self.flat))

    def problem_of(self, observation: Nested) -> tuple[str, bool]:
        """What is wrong with an observation; see :meth:`~rlkit_core.envs.checks.leaves.LeafChecks.problem`."""
        return self._checks.problem(observation)

    def _taken(self, places: Places) -> Nested:
        return nested_map(lambda a: a[places], self.flat)


def _anything(values: Array) -> bool:
    """Of objects and of numbers in a Box that are whole, nothing is asked."""
    return True


def _tensor(array: Array) -> Any:
    return array if array.dtype == object else torch.from_numpy(array)
