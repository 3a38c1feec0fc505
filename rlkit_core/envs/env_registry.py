"""Envs that a script registered with gymnasium, on their way to processes that never run that script."""

from __future__ import annotations

from typing import Any

import cloudpickle
import gymnasium as gym

from rlkit_core.envs.make import register_namespace
from rlkit_core.errors import ConfigError
from rlkit_core.execution.foreign_code import dumps

_FOUND_ANYWHERE = ("gymnasium.", "ale_py", "shimmy")
"""Modules whose envs are left out unless asked for: there are a thousand of them, and no wrapper needs them all."""


def registered_envs(env: Any) -> dict[str, bytes]:
    """What this process has registered and another one would not know: ``{id: spec}``, as bytes.

    Args:
        env: the env to be made, whose spec goes along in any case if it is an id.

    Raises:
        ConfigError: the spec of that env cannot be pickled.
    """
    own = None
    if isinstance(env, str):
        register_namespace(env)
        own = env.rpartition(":")[2]
    found = {}
    for env_id, spec in gym.registry.items():
        point = spec.entry_point or spec.vector_entry_point
        if env_id != own and (not point or str(point).startswith(_FOUND_ANYWHERE)):
            continue
        try:
            found[env_id] = dumps(spec)
        except Exception as error:
            if env_id == own:
                raise ConfigError(
                    f"env {env_id!r} cannot be sent to a runner process: what it is registered with cannot be "
                    f"pickled ({error}); register an importable 'package.module:Class', or use num_env_runners=0"
                ) from error
    return found


def register_envs(specs: dict[str, bytes]) -> None:
    """Make the envs of :func:`registered_envs` known here; they take the place of others of their id."""
    for env_id, spec in specs.items():
        gym.registry[env_id] = cloudpickle.loads(spec)
