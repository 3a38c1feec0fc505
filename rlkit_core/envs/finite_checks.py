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

    def steps(self, buffers: RolloutBuffers, start: int, stop: int) -> None:
        """Look at rewards of the steps ``start:stop`` and at the observations after them.

        Raises:
            NonFiniteError: one is NaN or infinite; names env, step and raw action.
        """
        if buffers.finite(start, stop):
            return
        for t in range(start, stop):  # look for the culprit; a sum may also overflow with all its terms finite
            self.step(buffers.obs_rows[t + 1], buffers.reward_rows[t], buffers.raw_actions[t], t)

    def step(self, obs: Nested, rewards: Array | None, actions: Nested | None, t: int) -> None:
        """Look at one step's rewards ``[N]`` (None: it was a reset) and observations ``[N, ...]``.

        Raises:
            NonFiniteError: one is NaN or infinite.
        """
        for n in range(self.num_envs):
            if rewards is not None and not math.isfinite(rewards[n]):
                raise self._error(n, f"reward {rewards[n]}", t, actions)
            for leaf in leaves(obs):
                if leaf.dtype.kind == "f" and not np.isfinite(leaf[n]).all():
                    raise self._error(n, _observation(leaf[n]), t, actions)

    def finals(self, finals: list[tuple[int, Any]], buffers: RolloutBuffers) -> None:
        """Look at last observations of episodes, ``[(t * N + n, observation), ...]``.

        Raises:
            NonFiniteError: one is NaN or infinite.
        """
        for index, observation in finals:
            for leaf in leaves(observation):
                if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
                    t, n = divmod(index, self.num_envs)
                    raise self._error(n, _observation(leaf), t, buffers.raw_actions[t])

    def _error(self, n: int, bad: str, t: int, actions: Nested | None) -> NonFiniteError:
        when = "at a reset"
        if actions is not None:
            when = f"at step {t} of this rollout, after raw action {nested_map(lambda a: a[n], actions)!r}"
        return NonFiniteError(
            f"env {n} of runner {self.worker_index} ({self.env}) returned {bad} {when}; fix the env, or wrap it to "
            "replace such values"
        )


def _observation(value: Array) -> str:
    return f"a non-finite observation ({np.array2string(value, threshold=12)})"
