"""Environments: making them, stepping many at once, and the runners that turn steps into rollouts."""

from __future__ import annotations

from rlkit_core.envs.env_registry import register_env
from rlkit_core.envs.group import EnvRunnerGroup
from rlkit_core.envs.gym_vectors.as_vector import as_vector_env
from rlkit_core.envs.make import make_env, spaces_of
from rlkit_core.envs.multi_agent.copies import make_multi_agent
from rlkit_core.envs.multi_agent.dict_env import MultiAgentEnv
from rlkit_core.envs.runner import EnvRunner

__all__ = [
    "EnvRunner",
    "EnvRunnerGroup",
    "MultiAgentEnv",
    "as_vector_env",
    "make_env",
    "make_multi_agent",
    "register_env",
    "spaces_of",
]
