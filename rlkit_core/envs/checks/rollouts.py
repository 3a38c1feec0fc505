"""Nothing that is not finite, and no choice that there is not, leaves a runner; told of the very step and leaf."""

from __future__ import annotations

import math
from typing import Any, Protocol

import gymnasium as gym

from rlkit_core.data.nested import Nested
from rlkit_core.envs.checks.leaves import Array, LeafChecks
from rlkit_core.envs.checks.returned import NoChoiceError
from rlkit_core.errors import NonFiniteError
from rlkit_core.spaces import nested_map

CHECK_EVERY = 64
"""Steps after which a rollout is looked at while it is being sampled."""

BadValueError = NoChoiceError | NonFiniteError
SAY_WHERE = (NoChoiceError, NonFiniteError)
"""The same; their messages name the step."""


class Rows(Protocol):
    """Of a rollout's buffers: see :class:`~rlkit_core.envs.rollout_buffers.RolloutBuffers`."""

    obs_rows: list[Nested]
    reward_rows: list[Array]
    raw_actions: list[Nested]


class RolloutChecks:
    """Looks for what is NaN or infinite, or no choice of its space, and tells where it is.

    Args:
        env: what the config calls the env.
        worker_index: the runner's.
        num_envs: N.
        observation_space: of one env.
    """

    def __init__(self, env: object, worker_index: int, num_envs: int, observation_space: gym.Space[Any]) -> None:
        self._env, self._worker_index, self._num_envs = env, worker_index, num_envs
        self._leaves = LeafChecks(observation_space)

    def culprits(self, buffers: Rows, start: int, stop: int) -> list[tuple[int, int, BadValueError]]:
        """Look at rewards of the steps ``start:stop`` and at the observations after them.

        Returns:
            Env, first step, and an error that names env, step, leaf and raw action, of each env that returned something
            that is not well; in the order of steps. None where only a sum has overflown.
        """
        found: dict[int, tuple[int, int, BadValueError]] = {}
        for t in range(start, stop):
            for n in range(self._num_envs):
                if n in found:
                    continue
                reward = buffers.reward_rows[t][n]
                bad, finite = f"reward {reward}", True
                if math.isfinite(reward):
                    bad, finite = self._leaves.problem(nested_map(lambda leaf: leaf[n], buffers.obs_rows[t + 1]))  # noqa: B023
                if bad:
                    found[n] = n, t, self._error(n, bad, t, buffers.raw_actions[t], finite=finite)
        return list(found.values())

    def well_at_reset(self, obs: Nested) -> bool:
        """Whether all is well with what all envs show after a reset, ``[N, ...]``."""
        return self._leaves.hold(obs)

    def at_reset(self, obs: Nested, n: int) -> BadValueError | None:
        """What is wrong with what env n shows after a reset, ``[N, ...]``; None where all is well."""
        bad, finite = self._leaves.problem(nested_map(lambda leaf: leaf[n], obs))
        return self._error(n, bad, -1, None, finite=finite) if bad else None

    def bad_finals(self, finals: list[tuple[int, Any]], buffers: Rows) -> list[tuple[int, BadValueError]]:
        """Those of the last observations of episodes, ``[(t * N + n, observation), ...]``, that are not well."""
        found: list[tuple[int, BadValueError]] = []
        for index, observation in finals:
            bad, finite = self._leaves.problem(observation)
            if bad:
                t, n = divmod(index, self._num_envs)
                found.append((index, self._error(n, bad, t, buffers.raw_actions[t], finite=finite)))
        return found

    def _error(self, n: int, bad: str, t: int, actions: Nested | None, *, finite: bool) -> BadValueError:
        when = "at a reset"
        if actions is not None:
            when = f"at step {t} of this rollout, after raw action {nested_map(lambda a: a[n], actions)!r}"
        return bad_value(f"env {n} of runner {self._worker_index} ({self._env}) returned {bad} {when}", finite=finite)


def bad_value(message: str, *, finite: bool) -> BadValueError:
    """An error about NaN and infinity (``finite``), or about what is no choice of its space, with the fix."""
    if finite:
        return NonFiniteError(f"{message}; fix the env, or wrap it to replace such values")
    return NoChoiceError(f"{message}; fix the env, or declare a larger space")
