"""Nothing that is not finite leaves a runner; looked at over blocks of steps, told of the very step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from attrs import frozen

from rlkit_core.data.nested import Nested, leaves
from rlkit_core.envs.rollout_buffers import Array, RolloutBuffers
from rlkit_core.errors import NonFiniteError
from rlkit_core.spaces import nested_map

CHECK_EVERY = 64
"""Steps after which a rollout is looked at while it is being sampled."""


@frozen
class FiniteChecks:
    """Looks for what is NaN or infinite, and tells where it is.

    Attributes:
        env: what the config calls the env.
        worker_index: the runner's.
        num_envs: N.
    """

    env: Any
    worker_index: int
    num_envs: int

    def culprits(self, buffers: RolloutBuffers, start: int, stop: int) -> list[tuple[int, int, NonFiniteError]]:
        """Look at rewards of the steps ``start:stop`` and at the observations after them.

        Returns:
            Env, first step, and an error that names env, step and raw action, of each env that returned something that
            is NaN or infinite; in the order of steps. None where only a sum has overflown.
        """
        found: dict[int, tuple[int, int, NonFiniteError]] = {}
        for t in range(start, stop):
            for n in range(self.num_envs):
                if n not in found and (bad := _bad(buffers.obs_rows[t + 1], buffers.reward_rows[t], n)):
                    found[n] = n, t, self._error(n, bad, t, buffers.raw_actions[t])
        return list(found.values())

    def at_reset(self, obs: Nested, n: int) -> NonFiniteError | None:
        """What is wrong with what env n shows after a reset, ``[N, ...]``; None where it is finite."""
        bad = _bad(obs, None, n)
        return self._error(n, bad, -1, None) if bad else None

    def bad_finals(self, finals: list[tuple[int, Any]], buffers: RolloutBuffers) -> list[tuple[int, NonFiniteError]]:
        """Those of the last observations of episodes, ``[(t * N + n, observation), ...]``, that are NaN or infinite."""
        found: list[tuple[int, NonFiniteError]] = []
        for index, observation in finals:
            for leaf in leaves(observation):
                if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
                    t, n = divmod(index, self.num_envs)
                    found.append((index, self._error(n, _observation(leaf), t, buffers.raw_actions[t])))
                    break
        return found

    def _error(self, n: int, bad: str, t: int, actions: Nested | None) -> NonFiniteError:
        when = "at a reset"
        if actions is not None:
            when = f"at step {t} of this rollout, after raw action {nested_map(lambda a: a[n], actions)!r}"
        return NonFiniteError(
            f"env {n} of runner {self.worker_index} ({self.env}) returned {bad} {when}; fix the env, or wrap it to "
            "replace such values"
        )


def _bad(obs: Nested, rewards: Array | None, n: int) -> str:
    """What of env n is not finite in one step's rewards ``[N]`` and observations ``[N, ...]``; "" if all is."""
    if rewards is not None and not math.isfinite(rewards[n]):
        return f"reward {rewards[n]}"
    for leaf in leaves(obs):
        if leaf.dtype.kind == "f" and not np.isfinite(leaf[n]).all():
            return _observation(leaf[n])
    return ""


def _observation(value: Array) -> str:
    return f"a non-finite observation ({np.array2string(value, threshold=12)})"
