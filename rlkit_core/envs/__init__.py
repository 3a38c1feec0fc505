"""Environments: making them, stepping many at once, and the runners that turn steps into rollouts."""

from __future__ import annotations

from rlkit_core.envs.group import EnvRunnerGroup
from rlkit_core.envs.make import make_env, spaces_of
from rlkit_core.envs.runner import EnvRunner

__all__ = ["EnvRunner", "EnvRunnerGroup", "make_env", "spaces_of"]
