"""Values that change with the number of sampled env steps."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from rlkit_core.errors import ConfigError

Schedule = float | Sequence[Sequence[float]]
_BEGIN: ContextVar[float] = ContextVar("_BEGIN", default=0.0)


class BeginningAt:
    """A block in which schedules that are made begin at ``timestep``."""

    __slots__ = ("_timestep", "_token")

    def __init__(self, timestep: float) -> None:
        self._timestep = timestep

    def __enter__(self) -> None:
        self._token = _BEGIN.set(self._timestep)

    def __exit__(self, *exc_info: object) -> None:
        _BEGIN.reset(self._token)


class Scheduler:
    """A constant, or a piecewise linear function of the timestep.

    It begins at 0; one that a learner makes while it trains begins where that learner's schedules are. What a learner,
    its drivers and its modules keep in attributes (lists, dicts and objects in these, too) is in the learner's state.

    Args:
        fixed_value_or_schedule: a number, or ``[[0, v0], [t1, v1], ...]``: linear between the points, the last value
            beyond the last one.
        device: where :attr:`value` lives.

    Attributes:
        value: the current value, a 0-dim float32 tensor that is updated in place, so a traced computation that uses it
            follows the schedule.
        timestep: where it is: what it was last moved to, or where it began.

    Raises:
        ConfigError: the schedule is malformed.
    """

    def __init__(self, fixed_value_or_schedule: Schedule, *, device: Any = None) -> None:
        self.validate(fixed_value_or_schedule)
        points: list[tuple[float, float]]
        if isinstance(fixed_value_or_schedule, (int, float)):
            points = [(0.0, float(fixed_value_or_schedule))]
        else:
            points = [(float(t), float(v)) for t, v in fixed_value_or_schedule]
        self._times = [t for t, _ in points]
        self._values = [v for _, v in points]
        self.timestep = _BEGIN.get()
        self._current = self.at(self.timestep)
        self.value: Tensor = torch.tensor(self._current, dtype=torch.float32, device=device)

    @property
    def points(self) -> list[list[float]]:
        """``[[t0, v0], [t1, v1], ...]``; one of them where it never changes."""
        return [[t, v] for t, v in zip(self._times, self._values, strict=True)]

    @property
    def is_constant(self) -> bool:
        """Whether it never changes."""
        return len(self._times) == 1

    def at(self, timestep: float) -> float:
        """The value at ``timestep``."""
        after = bisect_right(self._times, timestep)
        if after == len(self._times):
            return self._values[-1]
        if after == 0:
            return self._values[0]
        t0, t1 = self._times[after - 1], self._times[after]
        v0, v1 = self._values[after - 1], self._values[after]
        return v0 + (v1 - v0) * (timestep - t0) / (t1 - t0)

    def update(self, timestep: float) -> float:
        """Move to ``timestep`` and return the value there."""
        self.timestep = timestep
        if not self.is_constant:
            self._current = self.at(timestep)
            self.value.fill_(self._current)
        return self._current

    def get_current_value(self) -> float:
        """The value at the last update."""
        return self._current

    @staticmethod
    def validate(fixed_value_or_schedule: Any, name: str = "schedule") -> None:
        """Raise :class:`~rlkit_core.errors.ConfigError` unless it is a number or a schedule."""
        schedule = fixed_value_or_schedule
        if isinstance(schedule, (int, float)) and not isinstance(schedule, bool):
            return
        fix = "use a number, or [[0, first], [timestep, value], ...] with growing timesteps"
        if not isinstance(schedule, (list, tuple)) or len(schedule) < 2:
            raise ConfigError(f"{name}={schedule!r}: expected a number or at least two points; {fix}")
        if any(not isinstance(p, (list, tuple)) or len(p) != 2 for p in schedule):
            raise ConfigError(f"{name}={schedule!r}: each point must be [timestep, value]; {fix}")
        times = [p[0] for p in schedule]
        if times[0] != 0 or any(b <= a for a, b in pairwise(times)):
            raise ConfigError(f"{name}={schedule!r}: timesteps must start at 0 and grow; {fix}")
