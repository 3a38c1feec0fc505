"""Sums over an array of priorities that are cheap to change and to search."""

from __future__ import annotations

import math

import numpy as np

from rlkit_offpolicy.replay.rows import Array


class SumTree:
    """A tree of two levels over ``size`` non-negative numbers: blocks of numbers, and the sum of each.

    A binary tree has fewer numbers to look at, but its 16 and more levels cost an array operation or several each. With
    blocks of about ``sqrt(size / 64)`` numbers a batch of 64 is found by one running sum over the blocks' sums and
    one within the blocks, and an update adds up the blocks it touched. Sums are float64 and are never changed by a
    difference, so no error builds up.

    Attributes:
        size: how many numbers.
        leaves: ``[size]`` float64 view of the numbers; change them with :meth:`set` and :meth:`set_range`.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._width = 2 ** max(3, round(math.log2(math.sqrt(size / 64))))
        self._blocks: Array = np.zeros((-(-size // self._width), self._width))
        self._sums: Array = np.zeros(len(self._blocks))
        self._prefix: Array = np.zeros(len(self._blocks) + 1)
        self.leaves: Array = self._blocks.reshape(-1)[:size]

    @property
    def total(self) -> float:
        """Sum of all numbers."""
        return float(self._sums.cumsum()[-1])

    def set(self, places: Array, values: Array) -> None:
        """Give the numbers at ``places`` (int64) new values; of a place named twice the last one counts."""
        self.leaves[places] = values
        blocks = places // self._width
        self._sums[blocks] = self._blocks.take(blocks, 0).sum(axis=1)

    def set_range(self, start: int, stop: int, values: Array) -> None:
        """Give the numbers from ``start`` up to ``stop`` new values."""
        self.leaves[start:stop] = values
        first, last = start // self._width, (stop - 1) // self._width + 1
        self._sums[first:last] = self._blocks[first:last].sum(axis=1)

    def find(self, fractions: Array) -> tuple[Array, float]:
        """For each fraction of the total, in [0, 1), the place where the running sum exceeds it, and the total.

        Places are ``[B]`` int64. A number of zero is never found, whatever rounding does; the total must be positive.
        """
        ends = np.cumsum(self._sums, out=self._prefix[1:])
        # Rounding may take a target to the total; a target below it always finds a block whose sum is not zero.
        targets = np.minimum(fractions * ends[-1], np.nextafter(ends[-1], 0.0))
        block = ends.searchsorted(targets, side="right")
        within = self._blocks.take(block, 0).cumsum(axis=1)
        # A block's running sum and its sum may differ in the last bit.
        rest = np.minimum(targets - self._prefix.take(block), np.nextafter(within[:, -1], 0.0))
        places: Array = block * self._width + (within > rest[:, None]).argmax(axis=1)
        return places, float(ends[-1])
