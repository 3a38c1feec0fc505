"""An env's own vector implementation: the ``vector_entry_point`` of gymnasium's registry."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym

from rlkit_core.envs.faults.own_type import told
from rlkit_core.envs.gym_vectors.classes import GymVectorEnv
from rlkit_core.envs.make import spaces_of
from rlkit_core.envs.naming.registering import register_for
from rlkit_core.errors import ConfigError, EnvError

_log = logging.getLogger("rlkit_core.envs")

MANY = 64
"""Envs of one runner from which on their own vector implementation is taken where nothing else is asked for."""
_told: set[str] = set()


def own_vectors(env: object, env_config: Mapping[str, Any], num_envs: int, info_metrics: Sequence[str]) -> GymVectorEnv:
    """The own vector implementation of a registered env.

    Raises:
        ConfigError: the env is no id.
        EnvError: it has none, or making it raised.
    """
    if not isinstance(env, str):
        raise ConfigError(
            "gym_env_vectorize_mode='vector_entry_point' needs a registered env id, got a "
            f"{type(env).__name__}; a function that makes a vector env works with 'auto'"
        )
    if not has_own_vectors(env):
        raise EnvError(f"env {env!r} has no vector entry point; use gym_env_vectorize_mode='auto'")
    try:
        made = gym.make_vec(env, num_envs=num_envs, vectorization_mode="vector_entry_point", **env_config)
    except Exception as error:
        raise told(
            f"env {env!r}: its own vector implementation could not be made with env_config={dict(env_config)!r}: "
            f"{error}; gym_env_vectorize_mode='sync' does without",
            error,
        ) from error
    return GymVectorEnv(made, info_metrics)


def has_own_vectors(env: object) -> bool:
    """Whether an env is an id with a ``vector_entry_point``."""
    if not isinstance(env, str):
        return False
    register_for(env)
    try:
        return gym.spec(env).vector_entry_point is not None
    except (gym.error.Error, ImportError):
        return False


def takes_own_vectors(env: object, num_envs: int) -> bool:
    """Whether the own vector implementation of an env is tried where nothing else is asked for."""
    return num_envs >= MANY and has_own_vectors(env)


def own_vectors_if_like(
    env: object, env_config: Mapping[str, Any], num_envs: int, info_metrics: Sequence[str], example: object
) -> GymVectorEnv | None:
    """The same where there are many envs, and it can be made, with the spaces of an ``example`` env; None otherwise.

    That it was taken is said once for each id.
    """
    if not takes_own_vectors(env, num_envs):
        return None
    try:
        made = own_vectors(env, env_config, num_envs, info_metrics)
    except (EnvError, ImportError) as error:
        _log.info("%s", error)
        return None
    if (made.observation_space, made.action_space) != spaces_of(example):
        _log.info("env %s: its own vector implementation has other spaces than the env itself", env)
        made.close()
        return None
    name = str(env)
    if name not in _told:
        _told.add(name)
        _log.warning(
            "%d envs %s are stepped by %s, their own vector implementation: a resumed run begins with fresh episodes; "
            "env_runners(gym_env_vectorize_mode='sync') steps them one by one",
            num_envs,
            name,
            type(made.envs).__name__,
        )
    return made
