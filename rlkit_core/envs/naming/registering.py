"""Letting packages register their envs with gymnasium when one of them is asked for by name.

gymnasium itself stopped doing so with 1.0. Two ways are left: packages that say so themselves through entry points, and
those that are known to do it when they are imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

import gymnasium as gym

from rlkit_core.envs.naming.importing import import_if_there
from rlkit_core.envs.naming.known import Package, package_of
from rlkit_core.errors import EnvError

_GROUP = "gymnasium.envs"
_ROOT = "__root__"


def register_for(env_id: str) -> None:
    """Let whoever offers an id register it, unless gymnasium knows it already.

    First the package that is known for such ids, which is imported where it is installed; then the entry points of
    packages that offer the id's namespace (group ``gymnasium.envs`` and the namespace as name, or, as older packages
    write it, group ``gymnasium.envs.NAMESPACE``); then, for ids without namespace, those named ``__root__``.

    Args:
        env_id: ``NAME-v0``, ``NAMESPACE/NAME-v0``, either with ``module:`` before it. What is no such id is left alone.

    Raises:
        EnvError: a function that was to register the id's own namespace raised, or its package cannot be imported;
            chained from the original.
    """
    module, _, bare = env_id.rpartition(":")
    if bare in gym.registry:
        return
    known = package_of(bare)
    if known is not None and import_if_there(known.module) is not None and bare in gym.registry:
        return
    namespace = bare.rpartition("/")[0]
    if namespace and any(one.startswith(f"{namespace}/") for one in gym.registry):
        return
    if module and not namespace:
        return  # a class or function in it, or an id that it registers
    for entry in _entry_points(namespace or _ROOT):
        try:
            entry.load()()
        except Exception as error:
            if not namespace:
                continue  # of a package that has nothing to do with this id, perhaps
            raise EnvError(
                f"env {env_id!r}: entry point {entry.value!r}, which registers {namespace!r}, raised: {error}"
            ) from error


def missing_package(env_id: str) -> Package | None:
    """The package to install for an id that is not registered; None where none is known, or it is there."""
    known = package_of(env_id.rpartition(":")[2])
    return None if known is None or import_if_there(known.module) is not None else known


def all_entry_points() -> list[metadata.EntryPoint]:
    """Every entry point that registers envs, whatever their namespace."""
    found = metadata.entry_points()
    return [
        entry
        for group in found.groups
        if group == _GROUP or group.startswith(f"{_GROUP}.")
        for entry in found.select(group=group)
    ]


def _entry_points(namespace: str) -> Iterator[metadata.EntryPoint]:
    yield from metadata.entry_points(group=_GROUP, name=namespace)
    yield from metadata.entry_points(group=f"{_GROUP}.{namespace}")
