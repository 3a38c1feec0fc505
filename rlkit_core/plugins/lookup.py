"""What a name means: an entry point, a record; and which distribution an object comes from."""

from __future__ import annotations

import difflib
import inspect
import itertools
from collections.abc import Iterable, Mapping

from rlkit_core.errors import (
    AmbiguousComponentError,
    NoComponentError,
    PluginError,
    PluginNotFoundError,
    PluginVersionError,
    did_you_mean,
)
from rlkit_core.plugins.discovery import (
    CORE,
    FOUND,
    GROUP_ALGORITHMS,
    GROUP_CATALOGS,
    GROUP_COMMANDS,
    GROUP_PLUGINS,
    INCOMPATIBLE,
    RESERVED,
    SHADOWED,
    EntryPointInfo,
    Snapshot,
    canonical,
    top_level,
)
from rlkit_core.plugins.known_packages import known_names, package_for
from rlkit_core.plugins.records import LOCAL, SERVICE_KINDS, Origin, R, Registered
from rlkit_core.plugins.states import PluginState

NOUNS = {GROUP_ALGORITHMS: "algorithm", GROUP_CATALOGS: "catalog", GROUP_COMMANDS: "command", GROUP_PLUGINS: "plugin"}


def find(snapshot: Snapshot, group: str, name: str) -> EntryPointInfo:
    """Return the usable entry point that ``name`` (or ``"distribution/name"``, in any case) means.

    Raises:
        AmbiguousComponentError: several distributions register that name.
        PluginVersionError, PluginError: the one that does is incompatible or disabled.
        PluginNotFoundError: none does; says the nearest names, or if none is near all of them and the pip command.
    """
    noun = NOUNS[group]
    name = str(name)
    distribution, _, short = name.rpartition("/")
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
    known = sorted({e.name for e in snapshot.entry_points(group)})
    near = difflib.get_close_matches(short.lower(), known, n=3)
    if near:  # nearest first; a misspelt name is nothing to install
        raise PluginNotFoundError(f"No {noun} {name!r}. Did you mean {' or '.join(map(repr, near))}?")
    names = f"Installed: {', '.join(known)}." if known else f"No {noun} is installed."
    hint = f"If it is a plugin that is not installed yet: {install_line(noun, name)}"
    raise PluginNotFoundError(f"No {noun} {name!r}. {names} {hint}")


def find_record(
    records: Iterable[Registered[R]], kind: str, name: str, unavailable: Mapping[str, PluginState]
) -> Registered[R]:
    """Return which of the records of ``kind`` the ``name`` (``"distribution/name"``, or a short name) means.

    A service of the core's own wins its short name: whatever else is installed, ``"local"`` means the same. A
    component's short name is unique or an error, since a config chooses components by what is written there.
    ``unavailable`` are plugins that are installed but failed, disabled or incompatible, by distribution.

    Raises:
        AmbiguousComponentError: several distributions supply that short name.
        PluginNotFoundError: nothing installed has that id, or no service that name; says the line to install.
        PluginError: the id's distribution failed to load, is disabled or incompatible.
        NoComponentError: no component has that short name, or the id's distribution no such record.
    """
    known = {r.id: r for r in sorted(records, key=lambda r: r.id)}
    service, noun = kind in SERVICE_KINDS, kind.replace("_", " ")
    asked_for = f"{noun} {name!r}"
    distribution, slash, short = name.rpartition("/")
    if not slash:
        matches = [r for r in known.values() if r.name == name]
        if service:
            matches = [r for r in matches if r.origin.distribution == CORE] or matches
        if len(matches) > 1:
            ids = " and ".join(repr(r.id) for r in matches)
            raise AmbiguousComponentError(f"{asked_for} could be {ids}: write the full id")
        if matches:
            return matches[0]
        installed = sorted({r.name for r in known.values()})
        misspelt = bool(did_you_mean(name, installed))  # nothing to install then
        near = did_you_mean(name, installed if misspelt else [n for n in known_names(kind) if n != name])
        text = f"no {noun} named {name!r}.{near} Installed: {', '.join(known) or 'none'}."
        if not service:
            raise NoComponentError(text)
        hint = "" if misspelt else f" If it is a plugin: {install_line(kind, name)}"
        failed = "".join(f"\n  {state}" for state in unavailable.values())
        raise PluginNotFoundError(text + hint + (f"\nPlugins that may supply it:{failed}" if failed else ""))
    distribution = canonical(distribution)
    full = f"{distribution}/{short}"
    if full in known:
        return known[full]
    if distribution in unavailable:
        raise unavailable[distribution].error(asked_for)
    if distribution == RESERVED:
        raise NoComponentError(
            f"{asked_for}: a 'local' component has no installed package; pass its class or record instead"
        )
    names = sorted(r.name for r in known.values() if r.origin.distribution == distribution)
    if names:
        near = did_you_mean(short, names)
        raise NoComponentError(f"{asked_for}: {distribution} has no such {noun}.{near} It has: {', '.join(names)}")
    hint = did_you_mean(name, sorted(known)) or f" If it is a plugin: {install_line(kind, full)}"
    raise PluginNotFoundError(f"{asked_for}: nothing installed supplies {distribution!r}.{hint}")


def install_line(kind: str, name: str) -> str:
    """Return the command that installs what supplies ``name`` (an id or a short name)."""
    return f"pip install {canonical(package_for(kind, name))}"


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

    def find(self, obj: object) -> Origin:
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


def _module_name(obj: object) -> str:
    if isinstance(obj, str):
        return obj.partition(":")[0]
    if inspect.ismodule(obj):
        return obj.__name__
    holder = obj if isinstance(obj, type) or inspect.isroutine(obj) else type(obj)
    return getattr(holder, "__module__", None) or ""


def _common(a: str, b: str) -> int:
    """How many leading parts two dotted names share."""
    pairs = zip(a.split("."), b.split("."), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _installed_packages() -> dict[str, Origin]:
    import importlib_metadata

    origins: dict[str, Origin] = {}
    for package, names in importlib_metadata.packages_distributions().items():
        name = sorted(names)[0]
        origins[package] = Origin(canonical(name), importlib_metadata.version(name))
    return origins
