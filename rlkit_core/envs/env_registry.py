"""Envs that a script registers with gymnasium, and their way to processes that never run that script."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym

from rlkit_core.envs.naming.calling import EnvIndex, called
from rlkit_core.envs.naming.registering import register_for
from rlkit_core.errors import ConfigError
from rlkit_core.execution.foreign_code import dumps, loads

_FOUND_ANYWHERE = ("gymnasium.", "ale_py", "shimmy")
"""Modules whose envs are left out unless asked for: there are a thousand of them, and no wrapper needs them all."""


class _Creator:
    """What gymnasium calls with keywords, for a creator that takes ``env_config`` in its own way."""

    def __init__(self, creator: Callable[..., Any]) -> None:
        self._creator = creator

    def __call__(self, worker_index: int = 0, vector_index: int = 0, num_envs: int = 1, **settings: object) -> Any:
        return called(self._creator, settings, EnvIndex(worker_index, vector_index, num_envs))


def register_env(name: str, creator: Callable[..., Any]) -> None:
    """Give an env, of one agent or of several, a name to use in a config; it takes the place of another of that name.

    Args:
        name: an id as gymnasium has them: ``"MyEnv"``, ``"mine/MyEnv-v0"``.
        creator: env class, or function that returns an env; it gets ``env_config`` as
            :func:`~rlkit_core.envs.make.make_env` gives it.

    Raises:
        ConfigError: the name is none that gymnasium takes.
    """
    gym.registry.pop(name, None)
    try:
        gym.register(name, entry_point=_Creator(creator))
    except gym.error.Error as error:
        raise ConfigError(f"env name {name!r}: {error}") from error


def registered_envs(env: Any) -> dict[str, bytes]:
    """What this process has registered and another one would not know: ``{id: spec}``, as bytes.

    Args:
        env: the env to be made, whose spec goes along in any case if it is an id.

    Raises:
        ConfigError: the spec of that env cannot be pickled.
    """
    own = None
    if isinstance(env, str):
        register_for(env)
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
        gym.registry[env_id] = loads(spec)
