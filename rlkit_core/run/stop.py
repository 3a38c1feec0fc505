"""When a run ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
from attrs import field, frozen

from rlkit_core.errors import ConfigError, did_you_mean
from rlkit_core.settings import integer, number, optional

if TYPE_CHECKING:
    from rlkit_core.algorithm.config.config import AlgorithmConfig

DEFAULT_STEPS = 1_000_000
"""Env steps after which a run ends that names no limit."""


def _checked(name: str, convert: Callable[[object], Any]) -> Any:
    def check(value: object) -> Any:
        try:
            return convert(value)
        except ValueError as error:
            raise ConfigError(f"Stop({name}={value!r}): {error}") from None

    return field(default=None, converter=check)


@frozen
class Stop:
    """When a run ends; whichever is met first.

    Mean return over the deterministic evaluation episodes; env steps and iterations over the life of the run; seconds
    of this process, and those of training in earlier ones where it was resumed; ``patience``: so many evaluations in a
    row whose mean return is no better than the best one before them, see :class:`BestSoFar`.

    Raises:
        ConfigError: a return that is not finite, or a limit that is not above 0.
    """

    return_mean: float | None = _checked("return_mean", optional(number()))
    steps: int | None = _checked("steps", optional(integer(ge=1)))
    iterations: int | None = _checked("iterations", optional(integer(ge=1)))
    seconds: float | None = _checked("seconds", optional(number(gt=0)))
    patience: int | None = _checked("patience", optional(integer(ge=1)))

    @classmethod
    def usual(cls, env: object) -> Stop:
        """What ends a run that says nothing: the return at which an env counts as solved, or :data:`DEFAULT_STEPS`."""
        return cls(reward_threshold(env), DEFAULT_STEPS)

    @property
    def limits(self) -> tuple[int | None, int | None, float | None]:
        """Those of steps, iterations and seconds."""
        return self.steps, self.iterations, self.seconds

    def limit_reached(self, *, steps: int, iterations: int, seconds: float, no_better: int = 0) -> str | None:
        """Which limit is reached, in words, or None; ``no_better``: evaluations since the best one."""
        if self.steps is not None and steps >= self.steps:
            return f"{steps:,} environment steps"
        if self.iterations is not None and iterations >= self.iterations:
            return f"{iterations:,} iterations"
        if self.patience is not None and no_better >= self.patience:
            return f"{no_better:,} evaluation{'s' if no_better > 1 else ''} without a better mean return"
        return f"{seconds:.0f} seconds" if self.seconds is not None and seconds >= self.seconds else None


def evaluate_for(stop: Stop, config: AlgorithmConfig) -> None:
    """Let a config that never evaluates do so every 10 iterations, where what ends the run hangs on evaluations."""
    if (stop.return_mean, stop.patience) != (None, None) and config.evaluation_interval is None:
        config.evaluation(evaluation_interval=10)


def stop_of_preset(limits: Mapping[str, Any]) -> Stop:
    """What ``stop`` holds in a preset or a config file: ``return``, ``steps``, ``iterations``, ``seconds``...

    Raises:
        ConfigError: another key, or a value that is no limit.
    """
    names = {"return" if name == "return_mean" else name: name for name in attrs.fields_dict(Stop)}
    for key in limits:
        if key not in names:
            near = did_you_mean(key, names)
            raise ConfigError(f"stop: there is no limit {key!r}.{near} There are {', '.join(names)}")
    return Stop(**{names[key]: value for key, value in limits.items()})


class BestSoFar:
    """The best evaluation of a run, and how many have come since without being better.

    One that says nothing (NaN: none of its episodes ended) does not count. An equal one is no better.

    Args:
        return_mean, no_better: of the run that is resumed.
    """

    def __init__(self, return_mean: float | None = None, no_better: int | None = None) -> None:
        self.return_mean, self.no_better = return_mean, no_better or 0

    def hear(self, evaluation: float) -> None:
        """Count an iteration's evaluation; NaN where it had none."""
        if not math.isfinite(evaluation):
            return
        better = self.return_mean is None or evaluation > self.return_mean
        self.return_mean = evaluation if better else self.return_mean
        self.no_better = 0 if better else self.no_better + 1


def reward_threshold(env: object) -> float | None:
    """The return at which gymnasium calls an environment solved, if it says so."""
    import gymnasium as gym

    spec = gym.registry.get(env.rpartition(":")[2]) if isinstance(env, str) else getattr(env, "spec", None)
    return None if spec is None else spec.reward_threshold
