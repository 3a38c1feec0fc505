"""What is known of envs by their names alone: the package that has them, and the family they belong to.

All of it is data, in ``known_packages.json``: ids of gymnasium's registry (``ids``), families of multi-agent envs
(``agents``), and families that share presets (``families``).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib import resources
from typing import Any

import gymnasium as gym
from attrs import frozen


@frozen
class Package:
    """A package of envs.

    Attributes:
        module: importing it registers its envs with gymnasium, or they lie in it.
        install: what pip has to be told to install it.
        ids: patterns of the ids that it registers, as a shell has them.
        extra: the extra of rlkit-core that has it too.
    """

    module: str
    install: str
    ids: tuple[str, ...] = ()
    extra: str | None = None


@functools.cache
def known_packages() -> tuple[Package, ...]:
    """Packages whose envs gymnasium makes, once they are imported."""
    return tuple(Package(**{**row, "ids": tuple(row["ids"])}) for row in _data()["ids"])


@functools.cache
def agent_families() -> Mapping[str, Package]:
    """Families of multi-agent envs, ``family/name_v0``, and the package that the modules of each lie in."""
    return {family: Package(**row) for family, row in _data()["agents"].items()}


def package_of(env_id: str) -> Package | None:
    """The package that is known to have an id, which has no ``module:`` before it, in any case; None where none is."""
    name = env_id.lower()
    found = (one for one in known_packages() if any(fnmatchcase(name, pattern.lower()) for pattern in one.ids))
    return next(found, None)


def how_to_install(module: str) -> str:
    """What to do about a module that is not there, as a sentence's end: ``"install its package"``, or which that is."""
    top = module.partition(".")[0]
    found = (one for one in known_packages() if one.module.partition(".")[0] == top)
    package = next(found, None)
    return "install its package" if package is None else f"python -m pip install '{package.install}'"


def families() -> tuple[str, ...]:
    """Names of the families that presets may be for."""
    return tuple(_data()["families"])


def family_of(env_id: str) -> str | None:
    """The family of a registered env, told by the module that it is made from; None where it has none."""
    spec = gym.registry.get(env_id.rpartition(":")[2])
    point = "" if spec is None else spec.entry_point
    module = point if isinstance(point, str) else getattr(point, "__module__", "")
    known: Mapping[str, str] = _data()["families"]
    return next((name for name, package in known.items() if _lies_in(module, package)), None)


def _lies_in(module: str, package: str) -> bool:
    return module == package or module.startswith((f"{package}.", f"{package}:"))


@functools.cache
def _data() -> Mapping[str, Any]:
    text = resources.files(__package__).joinpath("known_packages.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]
