"""What a name means: an entry point, a record; and which distribution an object comes from."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from rlkit_core._version import __version__
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
from rlkit_core.plugins.installed.modules import installer_of
from rlkit_core.plugins.known_packages import known_names, package_for
from rlkit_core.plugins.records import LOCAL, SERVICE_KINDS, Origin, R, Registered
from rlkit_core.plugins.states import PluginState

NOUNS = {GROUP_ALGORITHMS: "algorithm", GROUP_CATALOGS: "catalog", GROUP_COMMANDS: "command", GROUP_PLUGINS: "plugin"}


#: Full ids that short names meant before, where several distributions have them now.
_MEANT: ContextVar[Collection[str]] = ContextVar("rlkit_meant", default=())


@contextmanager
def meaning(ids: Collection[str]) -> Iterator[None]:
    """Let short names mean these full ids inside, whoever else has such a name by now."""
    token = _MEANT.set(frozenset((*_MEANT.get(), *ids)))
    try:
        yield
    finally:
        _MEANT.reset(token)


def find(snapshot: Snapshot, group: str, name: str) -> EntryPointInfo:
    """Return the usable entry point that ``name`` (or ``"distribution/name"``) means.

    Case and ``-_.`` are alike in names: ``PPO`` beside ``ppo`` is one name with two owners.

    Raises:
        AmbiguousComponentError: several distributions register that name, in whatever spelling.
        PluginVersionError, PluginError: the one that does is incompatible or disabled.
        PluginNotFoundError: none does; says the nearest names, or if none is near all of them and what to install.
    """
    noun = NOUNS[group]
    name = str(name)
    distribution, slash, short = name.rpartition("/")
    everything = [e for e in snapshot.entry_points(group, usable_only=False) if e.state != SHADOWED]
    if slash:
        everything = [e for e in everything if e.distribution == canonical(distribution)]
    matches = [e for e in everything if canonical(e.name) == canonical(short)]
    usable = [e for e in matches if e.state == FOUND]
    if len({e.distribution for e in usable}) == 1:  # its own names may differ in nothing but their spelling
        usable = [e for e in usable if e.name == short] or usable
    usable = [e for e in usable if f"{e.distribution}/{e.name}" in _MEANT.get()] or usable
    if len(usable) > 1:
        ids = " and ".join(repr(f"{e.distribution}/{e.name}") for e in usable)
        who = "several plugins" if len({e.distribution for e in usable}) > 1 else "one plugin, several times"
        raise AmbiguousComponentError(f"{noun} {name!r} is registered by {who}: write {ids}, in full")
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
    raise PluginNotFoundError(f"No {noun} {name!r}. {names} {install_hint(noun, name)}")


def find_record(
    records: Iterable[Registered[R]], kind: str, name: str, unavailable: Mapping[str, PluginState]
) -> Registered[R]:
    """Return which of the records of ``kind`` the ``name`` (``"distribution/name"``, or a short name) means.

    Case and ``-_.`` are alike in short names. A service of the core's own wins its short name: whatever else is
    installed, ``"local"`` means the same. A component's short name is unique or an error, since a config chooses
    components by what is written there. ``unavailable`` are plugins that are installed but failed, disabled or
    incompatible, by distribution.

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
        matches = [r for r in known.values() if canonical(r.name) == canonical(name)]
        if service:
            matches = [r for r in matches if r.origin.distribution == CORE] or matches
        if len({r.origin.distribution for r in matches}) == 1:
            matches = [r for r in matches if r.name == name] or matches
        matches = [r for r in matches if r.id in _MEANT.get()] or matches
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
        hint = "" if misspelt else f" {install_hint(kind, name)}"
        failed = "".join(f"\n  {state}" for state in unavailable.values())
        raise PluginNotFoundError(text + hint + (f"\nPlugins that may supply it:{failed}" if failed else ""))
    distribution = canonical(distribution)
    full = f"{distribution}/{short}"
    own = [r for r in known.values() if r.origin.distribution == distribution]
    folded = [r for r in own if canonical(r.name) == canonical(short)]
    if full in known or len(folded) == 1:
        return known.get(full) or folded[0]
    if folded:
        raise AmbiguousComponentError(f"{asked_for} could be {' and '.join(repr(r.id) for r in folded)}")
    if distribution in unavailable:
        raise unavailable[distribution].error(asked_for)
    if distribution == RESERVED:
        raise NoComponentError(
            f"{asked_for}: a 'local' component comes from no installed package: pass its class or record, or register "
            "the file that defines it (rlkit --plugin FILE, host.register_file)"
        )
    names = sorted(r.name for r in own)
    if names:
        near = did_you_mean(short, names)
        raise NoComponentError(f"{asked_for}: {distribution} has no such {noun}.{near} It has: {', '.join(names)}")
    hint = did_you_mean(name, sorted(known)) or f" {install_hint(kind, full)}"
    raise PluginNotFoundError(f"{asked_for}: nothing installed supplies {distribution!r}.{hint}")


def install_hint(kind: str, name: str) -> str:
    """Say what to do about ``name`` (an id or a short name), which nothing installed supplies.

    A command is written only for what rlkit knows. Any other name that it made up could be registered by anybody, to be
    installed by whoever mistypes.
    """
    package, distribution = package_for(kind, name), name.rpartition("/")[0]
    if package is not None:
        hint = f"If it is a plugin that is not installed yet: pip install {package}"
    elif distribution:
        hint = f"If it is a plugin, it is one of the distribution {distribution!r}: its author says where to get it."
    else:
        hint = "If it is a plugin, its author says which distribution to install: rlkit knows none that has it."
    if hasattr(sys, "ps1") or "ipykernel" in sys.modules:  # somebody types, and may have installed it meanwhile
        hint += "\nIf it was installed since this process began: rlkit_core.plugins.host.default_host().refresh()"
    return hint


class OriginFinder:
    """Which distribution supplies a module: by rlkit's entry points first, then by who installed its file."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._found: dict[str, Origin] = {}

    def find(self, obj: object) -> Origin:
        """Return the origin of an object, class or module (or a module's name); ``local`` where nobody is known."""
        module = _module_name(obj)
        if module not in self._found:
            origin = self._find(module)
            if module not in sys.modules:  # it may yet be installed
                return origin
            self._found[module] = origin
        return self._found[module]

    def _find(self, module: str) -> Origin:
        package = top_level(module)
        if package == "rlkit_core":
            return Origin(CORE, __version__)
        if not package or package == "__main__":
            return LOCAL
        owner = self._snapshot.owner(module)
        if owner is not None:
            return Origin(owner.name, owner.version)
        installer = installer_of(module)
        return Origin(*installer) if installer else LOCAL


def _module_name(obj: object) -> str:
    if isinstance(obj, str):
        return obj.partition(":")[0]
    if inspect.ismodule(obj):
        return obj.__name__
    holder = obj if isinstance(obj, type) or inspect.isroutine(obj) else type(obj)
    module = getattr(holder, "__module__", None)
    return module if isinstance(module, str) else ""
