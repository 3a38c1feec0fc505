"""When a run ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from rlkit_core.errors import ConfigError
from rlkit_core.settings import integer, number, optional

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
    of this process, and those of training in earlier ones where it was resumed.

    Raises:
        ConfigError: a return that is not finite, or a limit that is not above 0.
    """

    return_mean: float | None = _checked("return_mean", optional(number()))
    steps: int | None = _checked("steps", optional(integer(ge=1)))
    iterations: int | None = _checked("iterations", optional(integer(ge=1)))
    seconds: float | None = _checked("seconds", optional(number(gt=0)))

    @classmethod
    def usual(cls, env: object) -> Stop:
        """What ends a run that says nothing: the return at which an env counts as solved, or :data:`DEFAULT_STEPS`."""
        return cls(reward_threshold(env), DEFAULT_STEPS)

    def limit_reached(self, *, steps: int, iterations: int, seconds: float) -> str | None:
        """Which limit is reached, in words, or None."""
        if self.steps is not None and steps >= self.steps:
            return f"{steps:,} environment steps"
        if self.iterations is not None and iterations >= self.iterations:
            return f"{iterations:,} iterations"
        return f"{seconds:.0f} seconds" if self.seconds is not None and seconds >= self.seconds else None


def reward_threshold(env: object) -> float | None:
    """The return at which gymnasium calls an environment solved, if it says so."""
    import gymnasium as gym

    spec = gym.registry.get(env.rpartition(":")[2]) if isinstance(env, str) else getattr(env, "spec", None)
    return None if spec is None else spec.reward_threshold
