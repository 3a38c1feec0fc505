"""Names of envs that gymnasium does not know: ``module:attribute``, and PettingZoo's ``family/name_v0``."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from rlkit_core.envs.naming.importing import import_if_there
from rlkit_core.envs.naming.kinds import kind_of
from rlkit_core.envs.naming.known import Package, agent_families
from rlkit_core.errors import EnvError, did_you_mean

Creator = Callable[..., Any]

_VERSION = re.compile(r"[-_]v(\d+)$")


def creator_named(env_id: str) -> Creator | None:
    """What makes the env of a name; None where it is gymnasium's to make or to report.

    ``module:attribute`` is a class, function or module within a module; ``family/name`` is PettingZoo's registry, or a
    module of that name in the family's package (see :func:`~rlkit_core.envs.naming.known.agent_families`; any package
    will do), whose ``parallel_env`` is taken where it has one, and its ``env`` otherwise.

    Raises:
        EnvError: the family is known, but not installed, or has no env of that name.
    """
    module_name, colon, attribute = env_id.rpartition(":")
    if colon:
        return _attribute_of(module_name, attribute)
    family, slash, name = env_id.rpartition("/")
    name = _VERSION.sub(r"_v\1", name)
    if env_id in gym.registry or (slash and any(known.startswith(f"{family}/") for known in gym.registry)):
        return None
    registered = _pettingzoos(env_id, family)
    if registered is not None or not slash:
        return registered
    known_family = agent_families().get(family)
    if known_family is not None:
        return functools.partial(make_from_module, _module_of(env_id, known_family, name))
    module = import_if_there(f"{family.replace('/', '.')}.{name}")
    makes_envs = callable(getattr(module, "parallel_env", None)) or callable(getattr(module, "env", None))
    return functools.partial(make_from_module, module) if module is not None and makes_envs else None


def make_from_module(module: ModuleType, /, **settings: object) -> Any:
    """Make the env of a PettingZoo module: its parallel one, where it has one and does not say it is none.

    Raises:
        EnvError: the module makes no env.
    """
    parallel, turn_based = getattr(module, "parallel_env", None), getattr(module, "env", None)
    if callable(parallel):
        env = parallel(**settings)
        metadata = getattr(env, "metadata", None)
        refuses = isinstance(metadata, Mapping) and metadata.get("is_parallelizable") is False
        if not (refuses and callable(turn_based)):
            return env
        env.close()
    if callable(turn_based):
        return turn_based(**settings)
    raise EnvError(
        f"module {module.__name__!r} makes no env: expected functions parallel_env() or env(), as PettingZoo's modules "
        "have them"
    )


def maker_of(env_id: str) -> Creator | None:
    """What gymnasium calls to make a registered env; None where there is nothing, or its module cannot be imported."""
    spec = gym.registry.get(env_id.rpartition(":")[2])
    point = None if spec is None else spec.entry_point
    if not isinstance(point, str):
        return point
    try:
        return load_env_creator(point)
    except Exception:
        return None  # gymnasium says why


def make_with_agents(env_id: str, settings: Mapping[str, Any]) -> gym.Env[Any, Any] | None:
    """Make the env of a gymnasium id that has agents, without gymnasium's wrappers, which would not understand it.

    Returns:
        The env; None if it is none with agents.

    Raises:
        EnvError: the id has a limit of steps, which is a wrapper too.
    """
    spec, creator = gym.registry.get(env_id.rpartition(":")[2]), maker_of(env_id)
    if spec is None or creator is None:
        return None
    try:
        env: Any = creator(**{**spec.kwargs, **settings})
    except Exception:
        return None  # gymnasium has said why already
    if kind_of(env) == "single":
        return None
    if spec.max_episode_steps is not None:
        raise EnvError(
            f"env {env_id!r} has several agents and is registered with max_episode_steps={spec.max_episode_steps}, "
            "which only works for one: let the env itself end its episodes"
        )
    made: gym.Env[Any, Any] = env
    return made


def _attribute_of(module_name: str, path: str) -> Creator | None:
    """A class or function in a module, or a module that makes envs; None where gymnasium should have its say.

    Raises:
        EnvError: the module is Python's own: a name may come from a checkpoint, and ``subprocess:run`` makes no env.
    """
    if module_name.partition(".")[0] in sys.stdlib_module_names - {"__main__"}:
        raise EnvError(f"env '{module_name}:{path}': nothing in Python's standard library makes an env")
    module = import_if_there(module_name)
    if module is None or path in gym.registry:
        return None
    try:
        found: Any = functools.reduce(getattr, path.split("."), module)
    except AttributeError:
        found = import_if_there(f"{module_name}.{path}")  # a module that its package does not import
    if isinstance(found, ModuleType):
        return functools.partial(make_from_module, found)
    return found if callable(found) else None


def _pettingzoos(env_id: str, family: str) -> Creator | None:
    """What makes an id of PettingZoo's own registry, ``tictactoe-v3`` as it writes it; older ones have no registry."""
    if "pettingzoo" not in sys.modules and (
        family not in agent_families() or not importlib.util.find_spec("pettingzoo")
    ):
        return None
    pettingzoo = importlib.import_module("pettingzoo")
    for kind in ("parallel", "aec"):
        for spelt in (env_id, _VERSION.sub(r"-v\1", env_id)):
            if spelt in getattr(pettingzoo, f"{kind}_registry", ()):
                return functools.partial(pettingzoo.make, kind, spelt)
    return None


def _module_of(env_id: str, known: Package, name: str) -> ModuleType:
    """The module of an env of a known family."""
    package = known.module
    try:
        return importlib.import_module(f"{package}.{name}")
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing != f"{package}.{name}":
            raise EnvError(
                f"env {env_id!r} needs {missing!r}, which is not installed: python -m pip install '{known.install}'"
            ) from error
        there = [module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__)]
        names = [name for name in there if name.rpartition("_v")[2].isdigit()]
        hint = did_you_mean(name, names) or f" It has {', '.join(sorted(names))}."
        raise EnvError(f"env {env_id!r}: {package} has no such env.{hint}") from error
    except Exception as error:
        raise EnvError(f"env {env_id!r}: importing {package}.{name} raised {type(error).__name__}: {error}") from error
