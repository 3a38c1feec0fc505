"""Making N envs that are stepped together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import gymnasium as gym

from rlkit_core.envs.gym_vectors.as_vector import as_vector_env
from rlkit_core.envs.gym_vectors.classes import GymVectorEnv
from rlkit_core.envs.gym_vectors.envpool import EnvPool
from rlkit_core.envs.gym_vectors.own import own_vectors, own_vectors_if_like
from rlkit_core.envs.gym_vectors.separate import SeparateVectorEnv
from rlkit_core.envs.gym_vectors.sync import SyncVectorEnv
from rlkit_core.envs.make import make_env
from rlkit_core.envs.naming.calling import EnvIndex
from rlkit_core.envs.naming.kinds import kind_of
from rlkit_core.envs.vector import InlineVectorEnv, SeedSource, VectorEnv
from rlkit_core.envs.wrapping.apply import found
from rlkit_core.envs.wrapping.counted import COUNTED
from rlkit_core.envs.wrapping.entries import Entries, counts_below
from rlkit_core.errors import ConfigError, EnvError

EnvT = TypeVar("EnvT")
OWN_MODES = ("auto", "sync")
"""Ways to step envs with our own loop, in the runner's process."""
WHOLE_MODES = ("vector_entry_point", "envpool")
"""Ways in which somebody else makes all envs of an id at once."""
VECTORIZE_MODES = (*OWN_MODES, "async", "gymnasium_sync", *WHOLE_MODES)


def make_vector_env(
    env: Any,
    env_config: dict[str, Any] | None,
    num_envs: int,
    *,
    worker_index: int = 0,
    mode: str = "auto",
    check: bool = False,
    next_seed: SeedSource | None = None,
    info_metrics: Sequence[str] = (),
    created: Callable[[object], None] | None = None,
    first: gym.Env[Any, Any] | None = None,
    timeout_s: float | None = None,
    wrappers: Entries = (),
) -> VectorEnv:
    """Make ``num_envs`` copies of an env, stepped as ``mode`` says.

    Args:
        env: as for :func:`~rlkit_core.envs.make.make_env`; a class or function may make a vector env of so many.
        env_config: settings of the env.
        num_envs: N.
        worker_index: of the runner, for envs that ask for their place; see :class:`EnvIndex`.
        mode: ``"sync"``: :class:`InlineVectorEnv`. ``"auto"``: the same, but the env's own vector class for many (see
            :data:`~.own.MANY`) where it has one. ``"async"``: :class:`SeparateVectorEnv`, one process per env.
            ``"gymnasium_sync"``: gymnasium's ``SyncVectorEnv``. ``"vector_entry_point"``: the env's own vector class.
            ``"envpool"``: envs of that package.
        check: keep gymnasium's passive env checker (ids only).
        next_seed: as for :class:`InlineVectorEnv`; vector envs of others reset as they like.
        info_metrics: names of numbers in ``info`` that are kept where an episode ends.
        created: called with each env when it is made, where it is made (``"async"``: in the env's own process); with a
            vector env of others once.
        first: one of the envs, or the vector env, where it has been made already (and ``created`` is not told yet);
            closed where the mode makes its own.
        timeout_s: as for :class:`SeparateVectorEnv`; the other modes have nothing that could go on without an env.
        wrappers: what is put around each env; those of others have none.

    Raises:
        ConfigError: there is no such mode, it needs a registered id, or a vector env has another N.
        EnvError: the env cannot be made.
    """
    settings = dict(env_config or {})
    around = found(wrappers)
    if counts_below(wrappers):
        info_metrics = (*info_metrics, *COUNTED)

    def make(n: int = 0) -> Any:
        checker: dict[str, Any] = {"disable_env_checker": not check} if isinstance(env, str) else {}
        return make_env(env, settings, around, index=EnvIndex(worker_index, n, num_envs), **checker)

    def told_of(made: EnvT) -> EnvT:
        if created is not None:
            created(made)
        return made

    factories = [functools.partial(lambda n: told_of(make(n)), n) for n in range(num_envs)]
    if mode in WHOLE_MODES:
        _check_unwrapped(mode, wrappers)
        vectors = whole_vectors(env, settings, num_envs, mode, info_metrics)
        told_of(vectors.envs)
        return vectors
    example = make() if first is None else first
    if kind_of(example) == "vector":
        if mode != "auto":
            example.close()
            raise ConfigError(
                f"gym_env_vectorize_mode={mode!r} is for envs that are made one by one, and {env} makes a vector env "
                f"({type(example).__name__}); leave it 'auto'"
            )
        return _of_so_many(as_vector_env(told_of(example), info_metrics=info_metrics), num_envs, env)
    if mode == "auto" and not wrappers:
        own = own_vectors_if_like(env, settings, num_envs, info_metrics, example)
        if own is not None:
            example.close()
            told_of(own.envs)
            return own
    if mode in OWN_MODES:
        return InlineVectorEnv([lambda: told_of(example), *factories[1:]], next_seed, info_metrics, anew=factories)
    example.close()
    if mode == "async":
        return SeparateVectorEnv(factories, example, next_seed, info_metrics, timeout_s)
    if mode == "gymnasium_sync":
        return sync_envs(factories, next_seed, info_metrics)
    raise ConfigError(f"gym_env_vectorize_mode={mode!r}: expected one of {', '.join(VECTORIZE_MODES)}")


def make_example(
    env: object, env_config: dict[str, Any] | None = None, mode: str = "auto", wrappers: Entries = ()
) -> Any:
    """One env with the spaces that a runner's have: a vector env of one where the mode has others make all of them.

    Raises:
        ConfigError, EnvError: it cannot be made.
    """
    if mode in WHOLE_MODES:
        _check_unwrapped(mode, wrappers)
        return whole_vectors(env, dict(env_config or {}), 1, mode, ())
    return make_env(env, env_config, wrappers)  # type: ignore[arg-type]


def _check_unwrapped(mode: str, wrappers: Entries) -> None:
    if wrappers:
        raise ConfigError(
            f"gym_env_vectorize_mode={mode!r}: environment(wrappers=...) are put around single envs, and here somebody "
            "else makes all of them at once; use 'auto', or leave them out: environment(wrappers=[]), or --set "
            "wrappers=[] where a preset has them"
        )


def whole_vectors(
    env: object, settings: dict[str, Any], num_envs: int, mode: str, info_metrics: Sequence[str]
) -> GymVectorEnv:
    """A vector env of the modes in which somebody else makes all envs.

    Raises:
        ConfigError: the env is no id.
        EnvError: it cannot be made.
    """
    if mode == "vector_entry_point":
        return own_vectors(env, settings, num_envs, info_metrics)
    if not isinstance(env, str):
        raise ConfigError(f"gym_env_vectorize_mode='envpool' needs the id of an env, got a {type(env).__name__}")
    return GymVectorEnv(EnvPool(env, num_envs, settings), info_metrics)


def _of_so_many(made: VectorEnv, num_envs: int, env: object) -> VectorEnv:
    if made.num_envs != num_envs:
        made.close()
        raise EnvError(
            f"env {env} makes a vector env of {made.num_envs} envs, and {num_envs} are asked for: write "
            f"env_runners(num_envs_per_env_runner={made.num_envs}), or let it take the argument num_envs"
        )
    return made


def sync_envs(
    factories: Sequence[Callable[[], Any]], next_seed: SeedSource | None, info_metrics: Sequence[str]
) -> VectorEnv:
    """Envs of the mode "gymnasium_sync"."""
    return SyncVectorEnv(factories, next_seed, info_metrics)
