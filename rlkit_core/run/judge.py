"""Whether a run has reached its target: evaluations in full, and short ones that say when these are worth it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from rlkit_core.algorithm.results import evaluation_return_mean, look_up, return_mean, return_of_all
from rlkit_core.result_keys import (
    ENV_RUNNER_RESULTS,
    EPISODE_RETURN_MEAN,
    EVALUATION_RESULTS,
    NUM_EPISODES_CUT,
    NUM_EPISODES_FAILED,
)
from rlkit_core.run.signals import Interrupted, Signals

if TYPE_CHECKING:
    from rlkit_core.algorithm import Algorithm

PROBE_EPISODES = 10
"""Episodes of the evaluation that decides whether the full one is worth its time."""


@frozen
class Evaluated:
    """What an evaluation brought.

    Attributes:
        return_mean: over the episodes that ended; NaN where none did.
        episodes: how many ended.
        cut: how many were cut instead.
        failed: how many of those because their env failed.
    """

    return_mean: float = math.nan
    episodes: int = 0
    cut: int = 0
    failed: int = 0

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> Evaluated:
        """What ``evaluate()`` returned, in short."""

        def count(name: str) -> int:
            value = look_up(metrics, ENV_RUNNER_RESULTS, name)
            return 0 if math.isnan(value) else int(value)

        mean = look_up(metrics, ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN)
        return cls(mean, count("num_episodes"), count(NUM_EPISODES_CUT), count(NUM_EPISODES_FAILED))


class Judge:
    """Evaluates an algorithm for a target.

    Args:
        target: mean return to reach; None is never reached.
        episodes: how many deterministic episodes decide.
        signals: one that comes ends an evaluation at once.
        begins_at: see below; of the run that is resumed.

    Attributes:
        last: what the last evaluation brought.
        begins_at: the iteration from which the mean return of training may call for an evaluation; None: any.
    """

    def __init__(self, target: float | None, episodes: int, signals: Signals, *, begins_at: int | None = None) -> None:
        self._target, self._episodes, self._signals = target, episodes, signals
        self.begins_at = begins_at
        self.last = Evaluated()

    def reached(self, value: float | None) -> bool:
        """Whether a mean return over all episodes is enough."""
        return self._target is not None and value is not None and value >= self._target

    def decide(self, algorithm: Algorithm, result: dict[str, Any]) -> float | None:
        """Evaluate if the target seems near: a few episodes, and all of them if those reach it.

        Returns:
            The mean return over all episodes, which are in ``result`` then; None if it was not decided.
        """
        if self._target is None or not self._seems_near(algorithm, result):
            return None
        if EVALUATION_RESULTS not in result and self._episodes > PROBE_EPISODES:
            probe = self.evaluate(algorithm, PROBE_EPISODES, result)
            if probe is None or not probe >= self._target:
                self._wait(algorithm)
                return None
        full = self.evaluate(algorithm, self._episodes, result)
        if full is not None and not full >= self._target:
            self._wait(algorithm)
        return full

    def evaluate(
        self, algorithm: Algorithm, episodes: int | None = None, result: dict[str, Any] | None = None
    ) -> float | None:
        """Mean return of deterministic episodes (all, unless given), put into ``result``.

        Returns:
            The mean; NaN where it says nothing, see :func:`return_of_all`; None if a signal ended it.
        """
        try:
            with self._signals.at_once():
                metrics = algorithm.evaluate(self._episodes if episodes is None else episodes)
        except Interrupted:
            return None
        if result is not None:
            result[EVALUATION_RESULTS] = metrics
        self.last = Evaluated.of(metrics)
        return return_of_all(metrics)

    def _seems_near(self, algorithm: Algorithm, result: Mapping[str, Any]) -> bool:
        assert self._target is not None
        if evaluation_return_mean(result) >= self._target:
            return True
        return return_mean(result) >= self._target and algorithm.iteration >= (self.begins_at or 0)

    def _wait(self, algorithm: Algorithm) -> None:
        self.begins_at = algorithm.iteration + (algorithm.config.evaluation_interval or 1)
