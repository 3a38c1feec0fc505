"""Making N envs that are stepped together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym

from rlkit_core.envs.gym_vectors.classes import GymVectorEnv, MaskedVectorEnv
from rlkit_core.envs.gym_vectors.resumable import resumable
from rlkit_core.envs.make import make_env, register_namespace
from rlkit_core.envs.vector import InlineVectorEnv, SeedSource, VectorEnv
from rlkit_core.errors import ConfigError, EnvError

OWN_MODES = ("auto", "sync")
"""Ways to step envs with our own loop, in the runner's process."""
VECTORIZE_MODES = (*OWN_MODES, "async", "gymnasium_sync", "vector_entry_point")


def make_vector_env(
    env: Any,
    env_config: dict[str, Any] | None,
    num_envs: int,
    *,
    mode: str = "auto",
    check: bool = False,
    next_seed: SeedSource | None = None,
    info_metrics: Sequence[str] = (),
    created: Callable[[object], None] | None = None,
    first: gym.Env[Any, Any] | None = None,
) -> VectorEnv:
    """Make ``num_envs`` copies of an env, stepped as ``mode`` says.

    Args:
        env: as for :func:`~rlkit_core.envs.make.make_env`.
        env_config: settings of the env.
        num_envs: N.
        mode: ``"auto"`` and ``"sync"``: :class:`InlineVectorEnv`. ``"async"``: gymnasium's ``AsyncVectorEnv``, one
            process per env. ``"gymnasium_sync"``: its ``SyncVectorEnv``. ``"vector_entry_point"``: the env's own
            vector class.
        check: keep gymnasium's passive env checker (ids only).
        next_seed: as for :class:`InlineVectorEnv`; an env's own vector class resets as it likes.
        info_metrics: names of numbers in ``info`` that are kept where an episode ends.
        created: called with each env when it is made, where it is made (``"async"``: in the env's own process;
            ``"vector_entry_point"``: once, with the vector env).
        first: one of the envs, where it has been made already; closed where the mode makes its own.

    Raises:
        ConfigError: there is no such mode, or it needs a registered id.
        EnvError: the env cannot be made.
    """

    def factory() -> Any:
        made = make_env(env, env_config, **({"disable_env_checker": not check} if isinstance(env, str) else {}))
        if created is not None:
            created(made)
        return made

    if mode in OWN_MODES:
        made = [] if first is None else [lambda: first]
        return InlineVectorEnv([*made, *[factory] * (num_envs - len(made))], next_seed, info_metrics, anew=factory)
    if first is not None:
        first.close()
    if mode in ("async", "gymnasium_sync"):
        factories = [functools.partial(_in_a_vector, factory, n) for n in range(num_envs)]
        return reset_by_mask(factories, mode, next_seed, info_metrics)
    if mode == "vector_entry_point":
        if not isinstance(env, str):
            raise ConfigError("gym_env_vectorize_mode='vector_entry_point' needs a registered env id")
        register_namespace(env)
        try:
            envs = gym.make_vec(env, num_envs=num_envs, vectorization_mode="vector_entry_point", **(env_config or {}))
        except gym.error.Error as error:
            raise EnvError(f"env {env!r} has no vector entry point; use gym_env_vectorize_mode='auto'") from error
        if created is not None:
            created(envs)
        return GymVectorEnv(envs, info_metrics)
    raise ConfigError(f"gym_env_vectorize_mode={mode!r}: expected one of {', '.join(VECTORIZE_MODES)}")


def _in_a_vector(factory: Callable[[], Any], index: int) -> Any:
    return resumable(factory(), index)


def reset_by_mask(
    factories: Sequence[Callable[[], Any]], mode: str, next_seed: SeedSource | None, info_metrics: Sequence[str]
) -> VectorEnv:
    """Envs stepped by one of gymnasium's own classes, "async" or "gymnasium_sync"."""
    disabled = gym.vector.AutoresetMode.DISABLED
    envs: gym.vector.SyncVectorEnv | gym.vector.AsyncVectorEnv
    if mode == "async":
        envs = gym.vector.AsyncVectorEnv(factories, shared_memory=True, autoreset_mode=disabled)
    else:
        envs = gym.vector.SyncVectorEnv(factories, autoreset_mode=disabled)
    return MaskedVectorEnv(envs, next_seed, info_metrics)
