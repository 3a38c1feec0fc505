"""Making N envs that are stepped together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym

from rlkit_core.envs.gym_vectors.classes import GymVectorEnv
from rlkit_core.envs.gym_vectors.separate import SeparateVectorEnv
from rlkit_core.envs.gym_vectors.sync import SyncVectorEnv
from rlkit_core.envs.make import make_env
from rlkit_core.envs.naming.registering import register_for
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
    timeout_s: float | None = None,
) -> VectorEnv:
    """Make ``num_envs`` copies of an env, stepped as ``mode`` says.

    Args:
        env: as for :func:`~rlkit_core.envs.make.make_env`.
        env_config: settings of the env.
        num_envs: N.
        mode: ``"auto"`` and ``"sync"``: :class:`InlineVectorEnv`. ``"async"``: :class:`SeparateVectorEnv`, one
            process per env. ``"gymnasium_sync"``: gymnasium's ``SyncVectorEnv``. ``"vector_entry_point"``: the
            env's own vector class.
        check: keep gymnasium's passive env checker (ids only).
        next_seed: as for :class:`InlineVectorEnv`; an env's own vector class resets as it likes.
        info_metrics: names of numbers in ``info`` that are kept where an episode ends.
        created: called with each env when it is made, where it is made (``"async"``: in the env's own process;
            ``"vector_entry_point"``: once, with the vector env).
        first: one of the envs, where it has been made already; closed where the mode makes its own.
        timeout_s: as for :class:`SeparateVectorEnv`; the other modes have nothing that could go on without an env.

    Raises:
        ConfigError: there is no such mode, or it needs a registered id.
        EnvError: the env cannot be made.
    """

    def factory() -> Any:
        checker: dict[str, Any] = {"disable_env_checker": not check} if isinstance(env, str) else {}
        made = make_env(env, env_config, **checker)
        if created is not None:
            created(made)
        return made

    if mode in OWN_MODES:
        made = [] if first is None else [lambda: first]
        return InlineVectorEnv([*made, *[factory] * (num_envs - len(made))], next_seed, info_metrics, anew=factory)
    if mode == "async":
        example = factory() if first is None else first
        example.close()
        return SeparateVectorEnv([factory] * num_envs, example, next_seed, info_metrics, timeout_s)
    if first is not None:
        first.close()
    if mode == "gymnasium_sync":
        return sync_envs([factory] * num_envs, next_seed, info_metrics)
    if mode == "vector_entry_point":
        if not isinstance(env, str):
            raise ConfigError("gym_env_vectorize_mode='vector_entry_point' needs a registered env id")
        register_for(env)
        try:
            envs = gym.make_vec(env, num_envs=num_envs, vectorization_mode="vector_entry_point", **(env_config or {}))
        except gym.error.Error as error:
            raise EnvError(f"env {env!r} has no vector entry point; use gym_env_vectorize_mode='auto'") from error
        if created is not None:
            created(envs)
        return GymVectorEnv(envs, info_metrics)
    raise ConfigError(f"gym_env_vectorize_mode={mode!r}: expected one of {', '.join(VECTORIZE_MODES)}")


def sync_envs(
    factories: Sequence[Callable[[], Any]], next_seed: SeedSource | None, info_metrics: Sequence[str]
) -> VectorEnv:
    """Envs of the mode "gymnasium_sync"."""
    return SyncVectorEnv(factories, next_seed, info_metrics)
