"""When a replay is compared with the eager step again."""

from __future__ import annotations


class CheckTimes:
    """Counts the replays of one recording.

    A Python number or branch in a loss is part of a recording. One that changes shows in the next step or the next
    update most often; the first replays of both are looked at, and later ones at growing distances: 1, 6, 30, 151, 755,
    3776, ..., odd and even ones. It depends on counts alone, so that a run is the same every time.
    """

    def __init__(self) -> None:
        self._replays, self._next, self._looks = 0, 1, 0
        self._update: float | None = None

    def now(self, update: int) -> bool:
        """Whether the replay that comes, in this update, is to be looked at."""
        self._replays += 1
        if self._update is None:
            self._update = update + 1
        if self._replays >= self._next:
            self._looks += 1
            self._next = 5 * self._next + self._looks % 2
        elif update < self._update:
            return False
        if update >= self._update:
            self._update = float("inf")
        return True
