"""From a vector env of somebody else's making to one that a runner steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import gymnasium as gym
import torch

from rlkit_core.envs.gym_vectors.classes import AutoresetMode, GymVectorEnv, space_of
from rlkit_core.envs.gym_vectors.tensors.vector import Simulator, TensorVectorEnv
from rlkit_core.envs.naming.kinds import kind_of
from rlkit_core.envs.vector import VectorEnv
from rlkit_core.errors import EnvError


def as_vector_env(
    env: object,
    *,
    device: torch.device | str | None = None,
    autoreset: AutoresetMode | str | None = None,
    observation_space: gym.Space[Any] | None = None,
    action_space: gym.Space[Any] | None = None,
    observation_key: str | None = None,
    info_metrics: Sequence[str] = (),
) -> VectorEnv:
    """Adapt a vector env, so that a runner can step it.

    One that has a ``device`` is taken for a simulator that returns torch tensors: observations ``[N, ...]`` (nested as
    its space is), rewards ``[N]``, terminations and truncations ``[N]`` bool; what it returns stays on that device, and
    the module acts there. It resets by itself, and may tell in ``infos["final_obs"]`` what truncated episodes showed
    last. A step may also give one flag of ends, with ``infos["time_outs"]`` for truncations.

    Args:
        env: has ``num_envs``, ``single_observation_space``, ``single_action_space``, ``reset(seed=...)`` and ``step()``
            as gymnasium's vector envs do. A :class:`~rlkit_core.envs.vector.VectorEnv` is returned as it is.
        device: where its tensors are; ``env.device`` unless given.
        autoreset: how it resets (``AutoresetMode``, or ``"SameStep"``, ``"NextStep"``), for tensors; what its
            ``metadata`` says, or in the step that ends an episode, unless given.
        observation_space, action_space: of one env, where it does not say, for tensors.
        observation_key: of a dict of observations, the one that is looked at, for tensors.
        info_metrics: names of numbers in ``info`` that are kept where an episode ends.

    Raises:
        EnvError: it is no vector env, or has no gymnasium spaces.
    """
    if hasattr(env, "same_step_reset") and kind_of(env) == "vector":
        if hasattr(env, "info_metrics"):
            env.info_metrics = tuple(info_metrics)
        return cast(VectorEnv, env)
    here = device or _device_of(env)
    if not hasattr(env, "num_envs") or (kind_of(env) != "vector" and here is None):
        raise EnvError(
            f"env {env} is no vector env: expected num_envs, single_observation_space and single_action_space, as "
            f"gymnasium.vector.VectorEnv has them, got a {type(env).__name__}"
        )
    if here is None:
        return GymVectorEnv(cast("gym.vector.VectorEnv[Any, Any, Any]", env), info_metrics)
    stated = (getattr(env, "metadata", None) or {}).get("autoreset_mode", AutoresetMode.SAME_STEP)
    made = TensorVectorEnv(
        cast(Simulator, env),
        torch.device(here),
        observation_space or space_of(env, "single_observation_space", "observation_space"),
        action_space or space_of(env, "single_action_space", "action_space"),
        autoreset=AutoresetMode(getattr(autoreset or stated, "value", autoreset or stated)),
        observation_key=observation_key,
    )
    made.info_metrics = tuple(info_metrics)
    return made


def _device_of(env: object) -> torch.device | str | None:
    """What an env, or the one that it wraps, says of its device."""
    for one in (env, getattr(env, "unwrapped", None)):
        device = getattr(one, "device", None)
        if isinstance(device, (torch.device, str)):
            return device
    return None
