"""Answers from metadata: which entry point a name means, and which distribution an object comes from."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from rlkit_core.errors import AmbiguousComponentError, PluginError, PluginNotFoundError, PluginVersionError
from rlkit_core.plugins.discovery import (
    CORE,
    FOUND,
    GROUP_ALGORITHMS,
    GROUP_CATALOGS,
    GROUP_COMMANDS,
    GROUP_PLUGINS,
    INCOMPATIBLE,
    SHADOWED,
    EntryPointInfo,
    Snapshot,
    canonical,
    top_level,
)
from rlkit_core.plugins.records import LOCAL, Origin

NOUNS = {
    GROUP_ALGORITHMS: "algorithm",
    GROUP_CATALOGS: "catalog",
    GROUP_COMMANDS: "command",
    GROUP_PLUGINS: "plugin",
}


def find(snapshot: Snapshot, group: str, name: str) -> EntryPointInfo:
    """Return the usable entry point that ``name`` (or ``"distribution/name"``, in any case) means.

    Raises:
        AmbiguousComponentError: several distributions register that name.
        PluginVersionError, PluginError: the one that does is incompatible or disabled.
        PluginNotFoundError: none does; says the nearest names, or if none is near all of them and the pip command.
    """
    noun = NOUNS[group]
    distribution, _, short = str(name).rpartition("/")
    everything = [e for e in snapshot.entry_points(group, usable_only=False) if e.state != SHADOWED]
    if distribution:
        everything = [e for e in everything if e.distribution == canonical(distribution)]
    matches = [e for e in everything if e.name == short] or [e for e in everything if e.name.lower() == short.lower()]
    usable = [e for e in matches if e.state == FOUND]
    if len({e.distribution for e in usable}) > 1:
        ids = " and ".join(repr(f"{e.distribution}/{e.name}") for e in usable)
        raise AmbiguousComponentError(f"{noun} {name!r} is registered by several plugins: write {ids}, in full")
    if usable:
        return usable[0]
    if matches:
        info = snapshot.distribution(matches[0].distribution)
        reason = (info.reason if info else None) or "it is hidden"
        kind = PluginVersionError if matches[0].state == INCOMPATIBLE else PluginError
        raise kind(
            f"No usable {noun} {name!r}: plugin {matches[0].distribution} {matches[0].version} is "
            f"{matches[0].state}: {reason}"
        )
    raise PluginNotFoundError(_not_found(noun, str(name), [e.name for e in snapshot.entry_points(group)]))


def _not_found(noun: str, name: str, installed: list[str]) -> str:
    known = sorted(set(installed))
    near = difflib.get_close_matches(name.rpartition("/")[2].lower(), known, n=3)
    if near:  # nearest first; a misspelt name is nothing to install
        return f"No {noun} {name!r}. Did you mean {' or '.join(map(repr, near))}?"
    names = f"Installed: {', '.join(known)}." if known else f"No {noun} is installed."
    distribution, _, short = name.rpartition("/")
    package = canonical(distribution or f"rlkit-{short}")
    return f"No {noun} {name!r}. {names} If it is a plugin that is not installed yet: pip install {package}"


class OriginFinder:
    """Which distribution supplies a top-level package: rlkit's own entry points first, then all metadata."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._modules: list[tuple[str, Origin]] = [
            (e.value.partition(":")[0].strip(), Origin(d.name, d.version))
            for d in snapshot.distributions
            if d.state != SHADOWED
            for e in d.entry_points
        ]
        self._packages: dict[str, Origin] | None = None

    def find(self, obj: Any) -> Origin:
        """Return the origin of an object, class or module (or a module's name)."""
        module = _module_name(obj)
        package = top_level(module)
        if package == "rlkit_core":
            info = self._snapshot.distribution(CORE)
            return Origin(CORE, info.version if info else "0")
        near = [(_common(module, m), o) for m, o in self._modules if top_level(m) == package]
        if near:
            return max(near, key=lambda c: (c[0], c[1].distribution))[1]
        if not package or package == "__main__":
            return LOCAL
        if self._packages is None:
            self._packages = _installed_packages()
        return self._packages.get(package, LOCAL)


def _module_name(obj: Any) -> str:
    if isinstance(obj, str):
        return obj.partition(":")[0]
    if inspect.ismodule(obj):
        return obj.__name__
    holder = obj if isinstance(obj, type) or inspect.isroutine(obj) else type(obj)
    return getattr(holder, "__module__", None) or ""


def _common(a: str, b: str) -> int:
    count = 0
    for left, right in zip(a.split("."), b.split("."), strict=False):
        if left != right:
            break
        count += 1
    return count


def _installed_packages() -> dict[str, Origin]:
    import importlib_metadata

    found: dict[str, Origin] = {}
    for package, names in importlib_metadata.packages_distributions().items():
        name = sorted(names)[0]
        found[package] = Origin(canonical(name), importlib_metadata.version(name))
    return found
