"""What errors say of an env: which one, what went wrong, and how it came there."""

from __future__ import annotations

import gymnasium as gym

from rlkit_core.envs.checks.returned import ReturnedError
from rlkit_core.envs.faults.own_type import told
from rlkit_core.errors import EnvError


class Beginnings:
    """How the open episodes of N envs began: the seed of the last reset that had one, and which episode it is since."""

    def __init__(self, num_envs: int) -> None:
        self._began: list[tuple[int | None, int]] = [(None, 0)] * num_envs

    def begin(self, n: int, seed: int | None) -> None:
        """Env n is about to be reset, with a seed or with its own generator going on."""
        last, episode = self._began[n]
        self._began[n] = (last, episode + 1) if seed is None else (seed, 1)

    def resumed(self, n: int, seed: int) -> None:
        """Env n has been brought into an episode that began with a seed."""
        self._began[n] = (seed, 1)

    def seeds(self) -> list[int | None]:
        """Seeds that the open episodes began with, None of those that began without one."""
        return [seed if episode == 1 else None for seed, episode in self._began]

    def at_step(self, n: int, action: object) -> str:
        """How env n came to a step."""
        seed, episode = self._began[n]
        return f"at a step with action {action!r}, in episode {episode} after the reset with seed {seed}"


def raised(n: int, env: object, when: str, error: Exception, message: str | None = None) -> EnvError:
    """Env n raised an error, which has another message than its own if one is given, or returned what it should not."""
    if isinstance(error, ReturnedError):
        said = ReturnedError(f"env {n} ({env}){f' {when}' if when else ''}: {error if message is None else message}")
        said.at_first = error.at_first
        return said
    what = type(error).__name__
    return told(f"env {n} ({env}) raised {what} {when}: {error if message is None else message}", error)


def misfit(n: int, env: object, space: gym.Space[object], error: Exception) -> EnvError:
    """Env n returned an observation that does not fit, as an error says that came of it."""
    said = ReturnedError(f"env {n} ({env}): its observation does not fit its observation_space {space}: {error}")
    said.__cause__ = error
    return said
