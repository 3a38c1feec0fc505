"""What ``train()`` returns: one nested dict with RLlib's keys, and the timers that fill a part of it."""

from __future__ import annotations

import math
import numbers
import time
from collections.abc import Mapping
from typing import Any, Protocol, TypedDict

from rlkit_core.result_keys import (
    AGENT_EPISODE_RETURNS_MEAN,
    ENV_RUNNER_RESULTS,
    EPISODE_RETURN_MEAN,
    EVALUATION_RESULTS,
    FAULT_TOLERANCE_STATS,
    IS_SUCCESS_MEAN,
    LEARNER_RESULTS,
    MODULE_EPISODE_RETURNS_MEAN,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES_CUT,
    NUM_EPISODES_FAILED,
    NUM_TRAINING_STEP_CALLS_PER_ITERATION,
    TIMERS,
    TRAINING_ITERATION,
)


class ResultDict(TypedDict, total=False):
    """What ``train()`` returns; more may be in it, where an algorithm adds it.

    ``config`` holds every setting with its value. ``evaluation`` is there in the iterations that evaluated,
    ``fault_tolerance`` where something can die, ``stopped_by`` where a callback asked to end training: its event and
    name.
    """

    env_runners: dict[str, Any]
    learners: dict[str, Any]
    evaluation: dict[str, Any]
    fault_tolerance: dict[str, Any]
    timers: dict[str, float]
    training_iteration: int
    num_env_steps_sampled_lifetime: int
    num_training_step_calls_per_iteration: int
    stopped_by: str
    config: dict[str, Any]


def assemble_result(
    *,
    env_runners: Mapping[str, Any],
    learners: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None = None,
    fault_tolerance: Mapping[str, Any] | None = None,
    timers: Mapping[str, Any],
    training_iteration: int,
    num_training_step_calls: int,
    config: Mapping[str, Any],
) -> ResultDict:
    """Put the parts of one iteration together.

    Args:
        env_runners: the runners' metrics (``episode_return_mean``, ...).
        learners: ``{module id: metrics, "__all_modules__": metrics}``.
        evaluation: what ``evaluate()`` gave, in the iterations that evaluated.
        fault_tolerance: counts of what died and was started again.
        timers: seconds by name.
        training_iteration: how many iterations there were, this one included.
        num_training_step_calls: how often ``training_step()`` ran in this one.
        config: every setting with its value.

    Returns:
        A dict of the caller's own. ``evaluation`` is missing where there was none.
    """
    result: ResultDict = {
        ENV_RUNNER_RESULTS: dict(env_runners),
        LEARNER_RESULTS: dict(learners),
        TIMERS: dict(timers),
        TRAINING_ITERATION: training_iteration,
        NUM_ENV_STEPS_SAMPLED_LIFETIME: env_runners.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0),
        NUM_TRAINING_STEP_CALLS_PER_ITERATION: num_training_step_calls,
        "config": dict(config),
    }
    if evaluation is not None:
        result[EVALUATION_RESULTS] = dict(evaluation)
    if fault_tolerance is not None:
        result[FAULT_TOLERANCE_STATS] = dict(fault_tolerance)
    return result


class HasFaults(Protocol):
    """A part that something can happen to."""

    def get_fault_metrics(self) -> Mapping[str, Any]:
        """Counts of what happened to it, by result key."""


def fault_metrics(*parts: HasFaults) -> dict[str, Any]:
    """``fault_tolerance`` of an iteration: the counts of all parts."""
    return {name: count for part in parts for name, count in part.get_fault_metrics().items()}


class Timed:
    """A block that is measured: a context manager, as rounds of a few env steps have many of them.

    Attributes:
        name: of the timer.
        last: seconds since they were asked for.
        total: seconds in all.
    """

    __slots__ = ("_started", "last", "name", "total")

    def __init__(self, name: str) -> None:
        self.name = name
        self.last = self.total = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *exc_info: object) -> None:
        self.add(time.perf_counter() - self._started)

    def add(self, seconds: float) -> None:
        """Count seconds."""
        self.last += seconds
        self.total += seconds


class Timers:
    """Wall-clock seconds of the parts of an iteration: the last one's, and the sum over the run."""

    def __init__(self) -> None:
        self._blocks: dict[str, Timed] = {}

    def time(self, name: str) -> Timed:
        """Measure a block; several of one name, not one within another, add up until the next :meth:`result`."""
        block = self._blocks.get(name)
        if block is None:
            block = self._blocks[name] = Timed(name)
        return block

    def add(self, name: str, seconds: float) -> None:
        """Count seconds measured elsewhere."""
        self.time(name).add(seconds)

    def result(self) -> dict[str, float]:
        """``{name: seconds since the last call, name_total: seconds of the whole run}``; begins a new interval."""
        result = {name: block.last for name, block in self._blocks.items()}
        result.update({f"{name}_total": block.total for name, block in self._blocks.items()})
        for block in self._blocks.values():
            block.last = 0.0
        return result


def phase_seconds(result: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of the whole run by phase (``sample``, ``learner_update``, ...), as the timers of a result have them."""
    timers: Mapping[str, Any] = result.get(TIMERS, {})
    totals = {
        name.removesuffix("_total"): as_number(value) for name, value in timers.items() if name.endswith("_total")
    }
    return {name: seconds for name, seconds in totals.items() if seconds is not None}


def flatten_result(result: Mapping[str, Any], *, skip: tuple[str, ...] = ("config",)) -> dict[str, float]:
    """All numbers of a nested result by path, ``env_runners/episode_return_mean``.

    Booleans and sizes-one arrays and tensors count as numbers; everything else (text, lists, None) is left
    out. NaN and infinities stay.

    Args:
        result: a result of ``train()``.
        skip: top-level keys to leave out.
    """
    flat: dict[str, float] = {}

    def walk(value: object, path: str) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                walk(item, f"{path}/{key}" if path else str(key))
            return
        number = as_number(value)
        if number is not None:
            flat[path] = number

    for key, value in result.items():
        if key not in skip:
            walk(value, str(key))
    return flat


def as_number(value: object) -> float | None:
    """``value`` as int or float; None if it is no single number."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    item = getattr(value, "item", None)
    if item is not None and getattr(value, "shape", None) in ((), (1,)):
        try:
            return as_number(item())
        except (ValueError, RuntimeError):
            return None
    return None


def look_up(result: Mapping[str, Any], *path: str) -> float:
    """The number at a path of keys; NaN where there is none."""
    value: Any = result
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return math.nan
        value = value[key]
    number = as_number(value)
    return math.nan if number is None else float(number)


def return_mean(result: Mapping[str, Any]) -> float:
    """Mean return of training episodes; NaN before the first has ended."""
    return look_up(result, ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN)


def evaluation_return_mean(result: Mapping[str, Any]) -> float:
    """Mean return of the evaluation in this result; NaN if there was none, or none of all its episodes."""
    evaluation = result.get(EVALUATION_RESULTS)
    return return_of_all(evaluation) if isinstance(evaluation, Mapping) else math.nan


def return_of_all(evaluation: Mapping[str, Any]) -> float:
    """Mean return of what ``evaluate()`` gave; NaN where episodes were cut that went on for too long.

    Of such, those that end may be the good ones or the bad ones: their mean is not to be compared with another
    evaluation's, nor with a target. An env that fails says nothing about the policy, so the mean of the others counts,
    as long as they are the greater part.
    """
    names = (NUM_EPISODES_CUT, NUM_EPISODES_FAILED, "num_episodes")
    cut, failed, ended = (look_up(evaluation, ENV_RUNNER_RESULTS, name) for name in names)
    if cut > 0 and not cut == failed < ended:
        return math.nan
    return look_up(evaluation, ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN)


def success_rate(result: Mapping[str, Any]) -> float:
    """Share of training episodes whose last ``info`` said ``is_success``; NaN where none says anything."""
    return look_up(result, ENV_RUNNER_RESULTS, IS_SUCCESS_MEAN)


def returns_of_each(result: Mapping[str, Any], at_most: int = 4) -> dict[str, float]:
    """Mean returns of single agents or, where there are too many of them, of single modules.

    Args:
        result: a result of ``train()``.
        at_most: how many there may be.

    Returns:
        ``{agent or module id: mean return}``; empty where there are more, or only one.
    """
    runners = result.get(ENV_RUNNER_RESULTS, {})
    for key in (AGENT_EPISODE_RETURNS_MEAN, MODULE_EPISODE_RETURNS_MEAN):
        found = runners.get(key, {})
        if 1 < len(found) <= at_most:
            return {str(name): look_up(found, name) for name in found}
    return {}


def total_loss(result: Mapping[str, Any]) -> float:
    """Sum of the modules' total losses; NaN if there is none."""
    learners = result.get(LEARNER_RESULTS)
    if not isinstance(learners, Mapping):
        return math.nan
    losses = [look_up(metrics, "total_loss") for metrics in learners.values() if isinstance(metrics, Mapping)]
    losses = [loss for loss in losses if not math.isnan(loss)]
    return sum(losses) if losses else math.nan
