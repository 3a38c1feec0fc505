"""Nothing that is not finite leaves a runner; looked at over blocks of steps, told of the very step."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from rlkit_core.data.nested import leaves
from rlkit_core.envs.rollout_buffers import RolloutBuffers
from rlkit_core.errors import NonFiniteError
from rlkit_core.spaces import nested_map

CHECK_EVERY = 64
"""Steps after which a rollout is looked at while it is being sampled."""


class Where(Protocol):
    """What a message tells of a runner."""

    worker_index: int
    num_envs: int
    config: Any


def check_steps(runner: Where, buffers: RolloutBuffers, start: int, stop: int) -> None:
    """Look at rewards of the steps ``start:stop`` and at the observations after them.

    Raises:
        NonFiniteError: one is NaN or infinite; names env, step and raw action.
    """
    if buffers.finite(start, stop):
        return
    for t in range(start, stop):  # look for the culprit; a sum may also overflow with all its terms finite
        check_step(runner, buffers.obs_rows[t + 1], buffers.reward_rows[t], buffers.raw_actions[t], t)


def check_step(runner: Where, obs: object, rewards: Any, actions: object, t: int) -> None:
    """Look at one step's rewards ``[N]`` (None: it was a reset) and observations ``[N, ...]``.

    Raises:
        NonFiniteError: one is NaN or infinite.
    """
    for n in range(runner.num_envs):
        if rewards is not None and not math.isfinite(rewards[n]):
            bad = f"reward {rewards[n]}"
        else:
            rows = [leaf[n] for leaf in leaves(obs) if leaf.dtype.kind == "f"]
            wrong = [row for row in rows if not np.isfinite(row).all()]
            if not wrong:
                continue
            bad = f"a non-finite observation ({np.array2string(wrong[0], threshold=12)})"
        raise _error(runner, n, bad, t, None if actions is None else nested_map(lambda a, n=n: a[n], actions))


def check_finals(runner: Where, finals: list[tuple[int, Any]], buffers: RolloutBuffers) -> None:
    """Look at last observations of episodes, ``[(t * N + n, observation), ...]``.

    Raises:
        NonFiniteError: one is NaN or infinite.
    """
    for index, observation in finals:
        for leaf in leaves(observation):
            if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
                t, n = divmod(index, runner.num_envs)
                action = nested_map(lambda a, n=n: a[n], buffers.raw_actions[t])
                bad = f"a non-finite observation ({np.array2string(leaf, threshold=12)})"
                raise _error(runner, n, bad, t, action)


def _error(runner: Where, n: int, bad: str, t: int, action: object) -> NonFiniteError:
    when = "at a reset" if action is None else f"at step {t} of this rollout, after raw action {action!r}"
    return NonFiniteError(
        f"env {n} of runner {runner.worker_index} ({runner.config.env}) returned {bad} {when}; fix the env, or wrap it "
        "to replace such values"
    )
