"""Sums over an array of priorities that are cheap to change and to search."""

from __future__ import annotations

import numpy as np

from rlkit_core.data.replay_rows import Array

FAN_OUT = 64


class SumTree:
    """A tree over ``size`` non-negative numbers whose nodes hold the sums of 64 children each.

    Wide nodes make it flat: three levels reach 262,144 numbers, so an update or a search of a whole batch is a
    handful of array operations. Sums are float64, and are added up anew from the children at every change, so no error
    builds up.

    Attributes:
        size: how many numbers.
        leaves: ``[size]`` float64 view of the numbers; change them with :meth:`set` and :meth:`set_range`.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._levels: list[Array] = []  # from the leaves up; each a whole number of nodes
        count = size
        while True:
            nodes = -(-count // FAN_OUT)
            self._levels.append(np.zeros((nodes, FAN_OUT)))
            if nodes == 1:
                break
            count = nodes
        self._flat = [level.reshape(-1) for level in self._levels]
        self.leaves: Array = self._flat[0][:size]

    @property
    def total(self) -> float:
        """Sum of all numbers."""
        return float(self._levels[-1].sum())

    def set(self, places: Array, values: Array | float) -> None:
        """Give the numbers at ``places`` (int64) new values; of a place named twice the last one counts."""
        self.leaves[places] = values
        for level, above in zip(self._levels[:-1], self._flat[1:], strict=True):
            places = places // FAN_OUT
            above[places] = level[places].sum(axis=1)

    def set_range(self, start: int, stop: int, values: Array | float) -> None:
        """Give the numbers from ``start`` up to ``stop`` new values."""
        self.leaves[start:stop] = values
        for level, above in zip(self._levels[:-1], self._flat[1:], strict=True):
            start, stop = start // FAN_OUT, (stop - 1) // FAN_OUT + 1
            above[start:stop] = level[start:stop].sum(axis=1)

    def find(self, targets: Array) -> Array:
        """For each target in ``[0, total)`` the place at which the running sum first exceeds it, ``[B]`` int64.

        A number of zero is never found, whatever rounding does to the targets.
        """
        node = np.zeros(len(targets), np.int64)
        rows = np.arange(len(targets))
        rest = targets
        for level in reversed(self._levels):
            sums = level[node].cumsum(axis=1)
            # Rounding may leave a little more than the node holds.
            rest = np.minimum(rest, np.nextafter(sums[:, -1], 0.0))
            child = (sums <= rest[:, None]).sum(axis=1)
            rest = rest - np.where(child > 0, sums[rows, child - 1], 0.0)
            node = node * FAN_OUT + child
        return node
