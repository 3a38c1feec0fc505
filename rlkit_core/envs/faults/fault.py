"""One failure of one env, and whether it is made anew: capped, with pauses, and never again and again for one cause."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable
from typing import Protocol

from attrs import define, frozen

from rlkit_core.envs.checks.returned import ReturnedError
from rlkit_core.envs.faults.elsewhere import ElsewhereError
from rlkit_core.envs.faults.own_type import retold
from rlkit_core.errors import EnvError, NonFiniteError

_log = logging.getLogger("rlkit_core.envs")

AT_ONCE, FEW = 3, 10
"""An env that fails so often in a row at the same place, each time within so many steps, is not made anew."""
IN_A_ROW, ENOUGH = 20, 1000
"""The same where it lasts longer; in a row is what no episode's end and fewer steps than the second lie between."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds that an env rests which fails right after it was made anew; twice as long each time."""


class FaultSettings(Protocol):
    """The settings of a config that say what happens to envs that fail."""

    restart_failed_sub_environments: bool
    max_num_sub_environment_restarts: int


@frozen(eq=False)
class Fault:
    """A failure.

    Attributes:
        env: which of the runner's envs.
        error: says which env it was, what happened, with which seed and action; raised where it is not begun anew.
        at_reset: in a reset: the step before it counts.
    """

    env: int
    error: EnvError | NonFiniteError
    at_reset: bool = False

    @property
    def place(self) -> Hashable:
        """Kind of the error and place in the code that it comes from; the same for failures with one cause."""
        if isinstance(self.error, ReturnedError):
            return ReturnedError, self.at_reset
        cause = self.error.__cause__
        if cause is not None and isinstance(cause.__cause__, ElsewhereError):
            return type(cause), *cause.__cause__.place
        traceback = None if cause is None else cause.__traceback__
        if traceback is None:
            return type(self.error), self.at_reset
        while traceback.tb_next is not None:
            traceback = traceback.tb_next
        return type(cause), traceback.tb_frame.f_code.co_filename, traceback.tb_lineno


@define(eq=False)
class _Streak:
    place: Hashable
    at_once: int  # failures at that place that came soon
    count: int  # failures at that place
    failures: int  # at any place
    at: int  # when the last fresh episode began, in steps of the env


class Restarts:
    """Decides about the failures of one runner's envs.

    Args:
        settings: the config.
        worker_index: of the runner, for messages.

    Attributes:
        count: how many envs were begun anew so far.
    """

    def __init__(self, settings: FaultSettings, worker_index: int) -> None:
        self._allowed = settings.restart_failed_sub_environments
        self._cap = settings.max_num_sub_environment_restarts
        self._worker_index = worker_index
        self._streaks: dict[int, _Streak] = {}
        self._told: set[Hashable] = set()
        self.count = 0

    def take(self, fault: Fault, *, now: int, began: int, anew: int | None = None) -> None:
        """Count a failure whose env is about to be made anew, after a pause if it comes right after the last.

        Args:
            fault: what happened.
            now: how many steps the env has taken in all, that one included.
            began: at how many its open episode began.
            anew: at how many the fresh one begins; ``now`` unless given.

        Raises:
            EnvError, NonFiniteError: the failure, where envs are not begun anew, or this one not once more.
        """
        never_well = isinstance(fault.error, ReturnedError) and fault.error.at_first and not self.count
        if not self._allowed or never_well:  # which is no better when it is made anew
            raise fault.error
        streak, place = self._streaks.get(fault.env), fault.place
        if streak is None or began > streak.at or now - streak.at >= ENOUGH:
            streak = _Streak(place, 0, 0, 0, 0)
            soon = True
        else:
            soon = now - streak.at <= FEW
            if streak.place != place:
                streak = _Streak(place, 0, 0, streak.failures, 0)
        streak.count, streak.failures = streak.count + 1, streak.failures + 1
        streak.at_once = streak.at_once + 1 if soon else 1
        streak.at = now if anew is None else anew
        self._streaks[fault.env] = streak
        if streak.at_once >= AT_ONCE or streak.count >= IN_A_ROW:
            raise _because(fault.error, f"it has failed so {streak.count} times in a row, made anew each time")
        if self.count >= self._cap:
            raise _because(
                fault.error,
                f"envs of this runner were made anew {self.count} times: "
                f"fault_tolerance(max_num_sub_environment_restarts={self._cap})",
            )
        self.count += 1
        new = place not in self._told
        self._told.add(place)
        _log.warning(
            "an env of runner %d is made anew: %s",
            self._worker_index,
            fault.error,
            exc_info=fault.error.__cause__ if new else None,
        )
        if streak.failures > 1 and soon:
            time.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (streak.at_once - 2)))


def _because(error: EnvError | NonFiniteError, why: str) -> EnvError | NonFiniteError:
    return retold(error, f"{error}; {why}")
