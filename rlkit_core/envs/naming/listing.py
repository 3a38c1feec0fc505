"""Which envs there are to be named: gymnasium's registry, known packages, PettingZoo's families."""

from __future__ import annotations

import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

import gymnasium as gym
from attrs import frozen

from rlkit_core.envs.naming.importing import import_if_there
from rlkit_core.envs.naming.known import Package, agent_families, known_packages
from rlkit_core.envs.naming.registering import all_entry_points
from rlkit_core.errors import EnvError

_WILD = re.compile(r"[*?]")
_VERSION = re.compile(r"^(.*)[-_]v(\d+)$")


@frozen
class Listed:
    """What can be named.

    Attributes:
        envs: ids, each with the top-level module that it is made by; sorted.
        absent: known packages that are not installed, with what they would add.
        broken: what could not be looked into, and why.
    """

    envs: dict[str, str]
    absent: tuple[Package, ...]
    broken: dict[str, str]


def list_envs(pattern: str = "", *, all_versions: bool = False) -> Listed:
    """Envs whose id, or whose package's name, has a text in it (or matches a pattern with ``*`` or ``?``), in any case.

    With a text, installed packages that are known to have envs are imported, so that theirs are listed too.

    Args:
        pattern: the text; empty lists what this process knows already, and packages.
        all_versions: older versions of an env too.
    """
    broken: dict[str, str] = {}
    absent = []
    for package in known_packages():
        try:
            there = import_if_there(package.module) if pattern else importlib.util.find_spec(_top(package.module))
        except EnvError as error:
            broken[package.module] = str(error)
            continue
        if there is None and (not pattern or any(_fits(one, pattern) for one in (*package.ids, package.install))):
            absent.append(package)
    for entry in all_entry_points() if pattern else ():
        if any(known.startswith(f"{entry.name}/") for known in gym.registry):
            continue  # a second time, gymnasium would warn of each
        try:
            entry.load()()
        except Exception as error:
            broken[entry.value] = f"{type(error).__name__}: {error}"
    found = {**_registered(), **dict(_agents())}
    newest = set(found if all_versions else _newest(found))
    kept = {env: of for env, of in sorted(found.items()) if env in newest and _fits_any((env, of), pattern)}
    return Listed(kept, tuple(absent), broken)


def installed_packages() -> list[Package]:
    """Known packages that are installed, which :func:`list_envs` looks into when it is asked for something."""
    return [one for one in known_packages() if importlib.util.find_spec(_top(one.module)) is not None]


def _registered() -> dict[str, str]:
    found = {}
    for env_id, spec in gym.registry.items():
        point = spec.entry_point or spec.vector_entry_point
        made_by = point if isinstance(point, str) else getattr(point, "__module__", "")
        if not (callable(point) and made_by == "gymnasium.envs"):  # which stands for what was given up, and only raises
            found[env_id] = _top(made_by.partition(":")[0]) or "?"
    return found


def _agents() -> Iterator[tuple[str, str]]:
    """Envs of PettingZoo's families, by the modules in their packages."""
    for family, package in agent_families().items():
        top = _top(package.module)
        if importlib.util.find_spec(top) is None:
            continue
        try:
            spec = importlib.util.find_spec(package.module)  # which imports no more than what it lies in
        except Exception:
            continue  # an extra of it is missing
        folders = None if spec is None else spec.submodule_search_locations
        for module in pkgutil.iter_modules(folders):
            if _VERSION.match(module.name):
                yield f"{family}/{module.name}", top


def _newest(env_ids: dict[str, str]) -> Iterator[str]:
    newest: dict[str, tuple[int, str]] = {}
    for env_id in env_ids:
        match = _VERSION.match(env_id)
        name, version = (match[1], int(match[2])) if match else (env_id, 0)
        newest[name] = max(newest.get(name, (-1, "")), (version, env_id))
    return (env_id for _, env_id in newest.values())


def _fits_any(names: tuple[str, ...], pattern: str) -> bool:
    return not pattern or any(_fits(name, pattern) for name in names)


def _fits(name: str, pattern: str) -> bool:
    name, pattern = name.lower(), pattern.lower()
    return fnmatchcase(name, pattern) if _WILD.search(pattern) else pattern in name


def _top(module: str) -> str:
    return module.partition(".")[0]
