"""The rows of a replay buffer in segments, which checkpoints share: a save writes what came since the last one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen

from rlkit_core.checkpoint import Segment
from rlkit_core.data.nested import leaves
from rlkit_core.errors import CheckpointError
from rlkit_offpolicy.replay.ring import ReplayStorage

SEGMENT_BYTES = 16 << 20
"""Bytes of a full segment, about, and of up to twice as many rows."""
FAN_IN = 8
"""So many segments of one rank are joined."""
RANKS = 4
"""Ranks of segments that are not full: by the number of times that :data:`FAN_IN` goes into a full one."""


@frozen
class Sealed:
    """Time rows from ``first`` up to ``last``, which is not one of them."""

    first: int
    last: int
    segment: Segment

    @property
    def rows(self) -> int:
        """Its time rows."""
        return self.last - self.first


class SealedRows:
    """The segments of a ring, oldest first.

    Each save closes what has come since the last one, so it writes new rows only: as one segment, or as several full
    ones. Small segments are joined as the digits of a number are carried. Each has a rank, 0 if it is full, one more
    for every factor of :data:`FAN_IN` that it is smaller. Ranks rise from the oldest segment to the newest: a new one
    takes in smaller ones before it, and with ``FAN_IN - 1`` of its own rank it becomes one of a better rank. A row is
    thus written again at most once for each of the :data:`RANKS`, and there are at most ``(FAN_IN - 1) * RANKS``
    segments that are not full, however often and however little is saved.

    A segment of which every row has been overwritten goes; one of which some have been stays whole, as its file is.
    """

    def __init__(self) -> None:
        self._sealed: list[Sealed] = []

    def seal(self, storage: ReplayStorage) -> tuple[list[dict[str, Any]], int]:
        """Make segments of rows that are complete.

        Returns:
            ``[{"first", "last", "segment"}, ...]``, and the number of the first time row that is in none.
        """
        oldest = storage.oldest
        kept = [self._kept(storage, one) for one in self._sealed if one.last > oldest]
        end, until = kept[-1].last if kept else oldest, storage.total - 1  # the newest row may change yet
        if until > end:
            length = max(1, SEGMENT_BYTES // _row_bytes(storage))
            first = max(oldest, _take_in(kept, end, until, length))
            count = max(1, (until - first) // length)
            cuts = [first + (until - first) * k // count for k in range(count + 1)]
            kept += (Sealed(a, b, _segment(storage, a, b)) for a, b in itertools.pairwise(cuts))
            end = until
        self._sealed = kept
        entries = [{"first": one.first, "last": one.last, "segment": one.segment} for one in kept]
        return entries, end

    def _kept(self, storage: ReplayStorage, one: Sealed) -> Sealed:
        """A segment whose file has gone is written again: of the rows that are left."""
        if one.first >= storage.oldest or one.segment.is_stored:
            return one
        return Sealed(storage.oldest, one.last, _segment(storage, storage.oldest, one.last))

    def restore(self, entries: Sequence[dict[str, Any]]) -> Iterator[tuple[int, Any]]:
        """Go on with the segments of a checkpoint; ``(number of the first time row, rows)`` of one after the other."""
        self._sealed = [Sealed(int(one["first"]), int(one["last"]), one["segment"]) for one in entries]
        for one in self._sealed:
            yield one.first, one.segment.tree(to_copy=True)

    def come_from(self, storage: ReplayStorage) -> None:
        """Let segments that were loaded take their rows from the ring from now on."""
        for one in self._sealed:
            one.segment.comes_from(_Rows(storage, one.first, one.last))


@frozen
class _Rows:
    """Gives time rows of a ring, for as long as they are there."""

    storage: ReplayStorage
    first: int
    last: int

    def __call__(self) -> dict[str, Any]:
        if self.first < self.storage.oldest:
            raise CheckpointError("a file of an earlier checkpoint went while its rows were to be shared; save again")
        return self.storage.get_rows(self.first, self.last, shared=True)


def _rank(rows: int, length: int) -> int:
    """How much smaller than ``length`` time rows a segment is; 0: it is not."""
    return next((rank for rank in range(RANKS) if rows * FAN_IN**rank >= length), RANKS)


def _take_in(kept: list[Sealed], first: int, until: int, length: int) -> int:
    """Take from the end of ``kept`` what a segment of new time rows is joined with; where that begins then."""
    while kept:
        rank, before = _rank(until - first, length), [_rank(one.rows, length) for one in kept[1 - FAN_IN :]]
        if before[-1] > rank:
            first = kept.pop().first
        elif rank and before == [rank] * (FAN_IN - 1):
            first = kept[1 - FAN_IN].first
            del kept[1 - FAN_IN :]
        else:
            break
    return first


def _row_bytes(storage: ReplayStorage) -> int:
    """Bytes of one time row, without what only some rows have."""
    arrays = [leaf.array for store in (storage.successive, storage.columns) for leaf in leaves(store)]
    arrays += [getattr(storage, name) for name in storage.flags]
    of_one: int = sum(array.itemsize * math.prod(array.shape[1:]) for array in arrays)
    return storage.num_envs * of_one


def _segment(storage: ReplayStorage, first: int, last: int) -> Segment:
    return Segment(_Rows(storage, first, last))
