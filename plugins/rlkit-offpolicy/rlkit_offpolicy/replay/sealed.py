"""The rows of a replay buffer in segments, which checkpoints share: a save writes what came since the last one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen

from rlkit_core.checkpoint import Segment
from rlkit_core.data.nested import leaves
from rlkit_core.errors import CheckpointError
from rlkit_offpolicy.replay.ring import ReplayStorage

SEGMENT_BYTES = 16 << 20
"""Bytes of a segment, about. What does not fill one is written with every save."""


@frozen
class Sealed:
    """Time rows from ``first`` up to ``last``, which is not one of them."""

    first: int
    last: int
    segment: Segment


class SealedRows:
    """The segments of a ring, oldest first.

    They end at multiples of one number of time rows, whenever they are made, so equal buffers have equal segments. One
    of which every row has been overwritten goes; one of which some have been stays whole, as its file is.
    """

    def __init__(self) -> None:
        self._sealed: list[Sealed] = []

    def seal(self, storage: ReplayStorage) -> tuple[list[dict[str, Any]], int]:
        """Make segments of rows that are complete.

        Returns:
            ``[{"first", "last", "segment"}, ...]``, and the number of the first time row that is in none.
        """
        length = max(1, SEGMENT_BYTES // _row_bytes(storage))
        oldest = storage.oldest
        kept = [self._kept(storage, one) for one in self._sealed if one.last > oldest]
        end = kept[-1].last if kept else oldest
        while (last := (end // length + 1) * length) < storage.total:  # the newest row may change yet
            kept.append(Sealed(end, last, _segment(storage, end, last)))
            end = last
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
            yield one.first, one.segment.tree()

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
        return self.storage.get_rows(self.first, self.last)


def _row_bytes(storage: ReplayStorage) -> int:
    """Bytes of one time row, without what only some rows have."""
    arrays = [leaf.array for store in (storage.successive, storage.columns) for leaf in leaves(store)]
    arrays += [getattr(storage, name) for name in storage.flags]
    of_one: int = sum(array.itemsize * math.prod(array.shape[1:]) for array in arrays)
    return storage.num_envs * of_one


def _segment(storage: ReplayStorage, first: int, last: int) -> Segment:
    return Segment(_Rows(storage, first, last))
