"""From a vector env of somebody else's making to one that a runner steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import gymnasium as gym

from rlkit_core.envs.gym_vectors.classes import GymVectorEnv
from rlkit_core.envs.naming.kinds import kind_of
from rlkit_core.envs.vector import VectorEnv
from rlkit_core.errors import EnvError


def as_vector_env(env: object, *, info_metrics: Sequence[str] = ()) -> VectorEnv:
    """Adapt a vector env, so that a runner can step it.

    Args:
        env: has ``num_envs``, ``single_observation_space``, ``single_action_space``, ``reset(seed=...)`` and ``step()``
            as gymnasium's vector envs do. A :class:`~rlkit_core.envs.vector.VectorEnv` is returned as it is.
        info_metrics: names of numbers in ``info`` that are kept where an episode ends.

    Raises:
        EnvError: it is no vector env, or has no gymnasium spaces.
    """
    if kind_of(env) != "vector":
        raise EnvError(
            f"env {env} is no vector env: expected num_envs, single_observation_space and single_action_space, as "
            f"gymnasium.vector.VectorEnv has them, got a {type(env).__name__}"
        )
    if hasattr(env, "same_step_reset"):
        if hasattr(env, "info_metrics"):
            env.info_metrics = tuple(info_metrics)
        return cast(VectorEnv, env)
    return GymVectorEnv(cast("gym.vector.VectorEnv[Any, Any, Any]", env), info_metrics)
