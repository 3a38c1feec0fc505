"""Making one environment from what a config names: an id, a class, or a function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeGuard

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from rlkit_core.envs.faults.own_type import told
from rlkit_core.envs.naming.calling import EnvIndex, asked_for, called
from rlkit_core.envs.naming.importing import import_if_there
from rlkit_core.envs.naming.kinds import check_single, kind_of
from rlkit_core.envs.naming.names import creator_named, make_from_module, make_with_agents, maker_of
from rlkit_core.envs.naming.registering import missing_package, register_for
from rlkit_core.envs.naming.specs import env_of_spec
from rlkit_core.envs.wrapping.apply import wrapped
from rlkit_core.envs.wrapping.entries import Entries, env_arguments
from rlkit_core.errors import EnvError, did_you_mean


def can_be_made(env: object) -> TypeGuard[str | ModuleType | Callable[..., Any]]:
    """Whether ``env`` is what an env is made from (an id, class, function, module or spec), and not an env."""
    return isinstance(env, (str, type, ModuleType, EnvSpec)) or (callable(env) and not hasattr(env, "step"))


def make_env(
    env: str | ModuleType | EnvSpec | Callable[..., Any],
    env_config: Mapping[str, Any] | None = None,
    wrappers: Entries = (),
    *,
    index: EnvIndex | None = None,
    **kwargs: object,
) -> gym.Env[Any, Any]:
    """Make one environment, of one agent or (whatever the annotation says) of several.

    An id goes to ``gymnasium.make(id, **env_config)``, unless gymnasium does not know it, and it names a class or
    function (``module:attribute``) or an env of PettingZoo (``family/name_v0``): see
    :func:`~rlkit_core.envs.naming.names.creator_named`. A module is one of PettingZoo's, which makes a parallel env
    where it can. A class or function whose first parameter is named ``config``, ``env_config`` or ``ctx``, or that has
    exactly one required parameter, is called with the dict; every other one with ``**env_config``, and so is one whose
    parameter of that kind is a key of ``env_config``. Its parameters ``worker_index`` and ``vector_index``, also those
    of what a gymnasium id is made by, get the env's place among the envs of a run (in a dict, they are attributes), and
    ``num_envs``, for what makes a vector env, how many it is to step.

    An id may be ``module:Name-v0``, for an env that importing ``module`` registers. One that gymnasium does not know
    yet (``ALE/Pong-v5``, ``MinAtar/Breakout-v1``) is registered first by the installed package that has it: see
    :func:`~rlkit_core.envs.naming.registering.register_for`.

    Args:
        env: id, env class, function that returns an env, a PettingZoo module, or a spec of gymnasium.
        env_config: settings of the env, free-form.
        wrappers: what is put around it, see :mod:`~rlkit_core.envs.wrapping.entries`.
        index: the env's place; that of the first env unless given.
        **kwargs: further arguments of ``gymnasium.make`` (its own ids only).

    Raises:
        EnvError: there is no such id, the arguments or wrappers do not fit, or making it raised; chained from the
            original.
    """
    made = _make(env, {**env_arguments(wrappers), **(env_config or {})}, index, kwargs)
    return wrapped(made, wrappers) if wrappers else made


def _make(env: object, settings: dict[str, Any], index: EnvIndex | None, kwargs: dict[str, Any]) -> gym.Env[Any, Any]:
    if isinstance(env, EnvSpec):
        env = env_of_spec(env)
    name = repr(env) if isinstance(env, str) else _name(env)
    creator: Callable[..., Any] | None
    if isinstance(env, str):
        register_for(env)
        creator = creator_named(env)
        if creator is None:
            return _make_registered(env, settings, kwargs, index or EnvIndex())
    elif isinstance(env, ModuleType):
        creator = functools.partial(make_from_module, env)
    elif callable(env):
        creator = env
    else:
        raise EnvError(f"env {env!r}: expected a gymnasium id, an env class or a function, got {type(env).__name__}")
    try:
        made = called(creator, settings, index)
    except Exception as error:
        raise told(f"env {name} could not be made with env_config={settings!r}: {error}", error) from error
    if not hasattr(made, "step") or not hasattr(made, "reset"):
        raise EnvError(f"env {name} gave a {type(made).__name__}, which has no reset() and step()")
    return made  # type: ignore[no-any-return]


def spaces_of(env: object) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """Observation and action space of an env (of one env of a vector env), which must both be gymnasium spaces.

    Raises:
        EnvError: one is missing or of another kind (old ``gym`` spaces, say), or the env has several agents.
    """
    check_single(env, "wanted here:", vector=True)
    names = ("observation_space", "action_space")
    if kind_of(env) == "vector" and hasattr(env, "single_observation_space"):
        names = ("single_observation_space", "single_action_space")
    spaces = [getattr(env, name, None) for name in names]
    for name, space in zip(names, spaces, strict=True):
        if not isinstance(space, gym.Space):
            raise EnvError(
                f"env {env}: {name} is {type(space).__module__}.{type(space).__name__}, expected a gymnasium space"
            )
    observation_space, action_space = spaces
    return observation_space, action_space  # type: ignore[return-value]


def _make_registered(
    env_id: str, settings: dict[str, Any], kwargs: dict[str, Any], index: EnvIndex
) -> gym.Env[Any, Any]:
    maker = maker_of(env_id)
    place = {} if maker is None else asked_for(maker, settings, index)
    try:
        env: gym.Env[Any, Any] = gym.make(env_id, **{**kwargs, **place, **settings})
    except gym.error.DependencyNotInstalled as error:
        raise EnvError(f"env {env_id!r} needs a package that is not installed: {error}") from error
    except (gym.error.UnregisteredEnv, gym.error.Error, ModuleNotFoundError) as error:
        raise EnvError(_not_made(env_id, error)) from error
    except Exception as error:
        # A TypeError is also what gymnasium says of an env that is none of its own kind.
        with_agents = make_with_agents(env_id, {**place, **settings}) if isinstance(error, TypeError) else None
        if with_agents is None:
            raise told(f"env {env_id!r} could not be made with env_config={settings!r}: {error}", error) from error
        return with_agents
    kind = kind_of(env.unwrapped)
    if kind == "vector":  # a simulator that is a gymnasium.Env by name; wrappers of single envs are nothing for it
        return env.unwrapped
    if kind == "single":
        return env
    env.close()
    return make_with_agents(env_id, {**place, **settings}) or env


def _not_made(env_id: str, error: Exception) -> str:
    """Why gymnasium has no env of a name, and what to do about it."""
    module, colon, name = env_id.rpartition(":")
    spec, to_install = gym.registry.get(name), missing_package(env_id)
    if spec is not None and isinstance(error, ModuleNotFoundError):
        return f"env {env_id!r} needs {error.name!r}, which is not installed"
    if spec is not None and spec.entry_point is None:
        mode = "env_runners(gym_env_vectorize_mode='vector_entry_point')"
        return f"env {env_id!r} can only step several at once (it is registered as a vector env): {mode}"
    if to_install is not None:
        also = f" (or 'rlkit-core[{to_install.extra}]')" if to_install.extra else ""
        return (
            f"env {env_id!r} comes from {to_install.module}, which is not installed: "
            f"python -m pip install '{to_install.install}'{also}"
        )
    known = {one.rpartition("/")[2]: one for one in gym.registry}
    lower = {one.lower(): one for one in gym.registry}
    hint = did_you_mean(env_id, gym.registry) or did_you_mean(name.rpartition("/")[2] or env_id, known)
    if name.lower() in lower:
        hint = f" Did you mean {lower[name.lower()]!r}?"
    if colon and import_if_there(module) is None:
        file = f"./{module.replace('.', '/')}.py:{name}"
        hint = f" There is no module {module!r}: install it, or name its file to a command, as ENV or --env {file}."
    return f"no env {env_id!r} is registered with gymnasium.{hint} ({error})"


def _name(env: object) -> str:
    return getattr(env, "__qualname__", None) or repr(env)
