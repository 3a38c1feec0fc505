"""What is installed: one scan of distribution metadata per process, no plugin code imported.

Standard library and ``importlib_metadata`` only, because ``rlkit plugins`` and ``rlkit algorithms`` start
from here and should answer in the time a shell command takes.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import importlib_metadata

from rlkit_core import _version
from rlkit_core._version import __version__
from rlkit_core.plugins import PluginWarning
from rlkit_core.plugins.versions import window_problem

CORE = "rlkit-core"
GROUP_PLUGINS = "rlkit.plugins"
GROUP_ALGORITHMS = "rlkit.algorithms"
GROUP_CATALOGS = "rlkit.catalogs"
GROUP_COMMANDS = "rlkit.commands"
GROUPS = (GROUP_PLUGINS, GROUP_ALGORITHMS, GROUP_CATALOGS, GROUP_COMMANDS)
RESERVED = "local"

FOUND, DISABLED, INCOMPATIBLE, SHADOWED = "found", "disabled", "incompatible", "shadowed"

_CORE_PLUGIN_MODULE = "rlkit_core.plugins.builtin"


class EntryPointInfo(NamedTuple):
    """One entry point of an ``rlkit.*`` group.

    ``state`` is that of its distribution, or ``"disabled"`` where a variable hides this entry point alone.
    """

    group: str
    name: str
    value: str
    distribution: str
    version: str
    state: str = FOUND


class DistributionInfo(NamedTuple):
    """An installed distribution with ``rlkit.*`` entry points, and what its metadata tells about it.

    Attributes:
        requires_core: its ``Requires-Dist`` on rlkit-core as written (several joined by " and "), or None.
        state: ``"found"``, ``"disabled"`` (by a variable), ``"incompatible"`` (with this core) or
            ``"shadowed"`` (another copy comes first on ``sys.path``).
        reason: why the state is not ``"found"``.
    """

    name: str
    version: str
    entry_points: tuple[EntryPointInfo, ...]
    requires_core: str | None = None
    state: str = FOUND
    reason: str | None = None
    location: str = ""


def canonical(name: str) -> str:
    """Return a distribution name in the normal form of PEP 503: ``"RLKit_PPO"`` is ``"rlkit-ppo"``."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


class Snapshot:
    """The plugins of this process, sorted by (distribution, name): an immutable value."""

    def __init__(self, distributions: Iterable[DistributionInfo]) -> None:
        self.distributions: tuple[DistributionInfo, ...] = tuple(
            sorted(distributions, key=lambda d: (d.name, d.state == SHADOWED, d.version, d.location))
        )

    def entry_points(self, group: str, *, usable_only: bool = True) -> tuple[EntryPointInfo, ...]:
        """Return the entry points of a group, sorted by (distribution, name)."""
        return tuple(
            e
            for d in self.distributions
            for e in d.entry_points
            if e.group == group and (not usable_only or e.state == FOUND)
        )

    def distribution(self, name: str) -> DistributionInfo | None:
        """Return the distribution of that name that Python would import, or None."""
        wanted = canonical(name)
        return next((d for d in self.distributions if d.name == wanted and d.state != SHADOWED), None)

    def usable(self) -> list[list[str]]:
        """Return ``[distribution, version, group, name, value]`` of every usable entry point.

        The same in two processes that use the same plugins, wherever and in whatever order they were installed.
        """
        return [
            [d.name, d.version, e.group, e.name, e.value]
            for d in self.distributions
            for e in d.entry_points
            if e.state == FOUND
        ]

    def diff(self, other: Snapshot) -> str:
        """Return how ``other`` differs, one line each, or ``""`` when both use the same plugins."""
        mine, theirs = _by_distribution(self.usable()), _by_distribution(other.usable())
        lines = []
        for name in sorted({*mine, *theirs}):
            a, b = mine.get(name), theirs.get(name)
            if a == b:
                continue
            if a is None or b is None:
                version, where = (b or a or ("", []))[0], "other" if a is None else "first"
                lines.append(f"{name} {version}: only in the {where}")
            elif a[0] != b[0]:
                lines.append(f"{name}: version {a[0]} in the first, {b[0]} in the other")
            else:
                only_a = [e for e in a[1] if e not in b[1]]
                only_b = [e for e in b[1] if e not in a[1]]
                parts = [f"{e} only in the first" for e in only_a] + [f"{e} only in the other" for e in only_b]
                lines.append(f"{name} {a[0]}: " + ", ".join(parts))
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the snapshot as JSON-able data, for :meth:`from_dict` in another process."""
        return {
            "distributions": [
                {**d._asdict(), "entry_points": [e._asdict() for e in d.entry_points]} for d in self.distributions
            ]
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Snapshot:
        """Return the snapshot that :meth:`to_dict` wrote."""
        return cls(
            DistributionInfo(**{**d, "entry_points": tuple(EntryPointInfo(**e) for e in d["entry_points"])})
            for d in data["distributions"]
        )


def _by_distribution(rows: list[list[str]]) -> dict[str, tuple[str, list[str]]]:
    grouped: dict[str, tuple[str, list[str]]] = {}
    for name, version, group, entry, value in rows:
        grouped.setdefault(name, (version, []))[1].append(f"{group} {entry} = {value}")
    return grouped


# --------------------------------------------------------------------------- the scan

_cached: Snapshot | None = None


def scan(path: Sequence[str] | None = None, *, env: Mapping[str, str] | None = None, refresh: bool = False) -> Snapshot:
    """Read the metadata of what is installed; once per process, then from memory.

    Args:
        path: directories to look in instead of ``sys.path`` (never cached).
        env: where ``RLKIT_PLUGINS`` and ``RLKIT_PLUGINS_DISABLE`` are read from; ``os.environ`` unless given.
        refresh: forget the last scan, for instance after installing something in a notebook.
    """
    global _cached
    env = os.environ if env is None else env
    if path is not None:
        return _select(_read(list(path)), env)
    if refresh or _cached is None:
        if refresh:
            importlib_metadata.MetadataPathFinder.invalidate_caches()
        _cached = _read(None)
    return _select(_cached, env)


def _read(path: list[str] | None) -> Snapshot:
    context = {} if path is None else {"path": path}
    first: dict[str, Any] = {}
    infos: list[DistributionInfo] = []
    seen: set[tuple[str, str]] = set()
    for dist in importlib_metadata.distributions(**context):
        try:
            text = dist.read_text("entry_points.txt") or ""
            name = _name_of(dist)
        except Exception:
            continue  # an unreadable leftover in site-packages is no plugin
        earlier = first.setdefault(name, dist)
        if "[rlkit." not in text.replace(" ", ""):
            continue
        location = _location(dist)
        if (name, location) in seen:
            continue  # the same folder, twice on sys.path
        seen.add((name, location))
        info = _inspect(dist, name, location)
        winner = location if earlier is dist else _location(earlier)
        if winner != location:
            reason = f"the copy in {winner} comes first on sys.path; uninstall one of the two"
            info = _with_state(info, SHADOWED, reason)
        infos.append(info)
    if not any(i.name == CORE and i.state != SHADOWED for i in infos):
        infos.append(_uninstalled_core())
    return Snapshot(infos)


def _location(dist: Any) -> str:
    return os.path.realpath(str(dist.locate_file("")))


def _name_of(dist: Any) -> str:
    # The name in normal form without parsing METADATA, as importlib_metadata itself de-duplicates.
    name = getattr(dist, "_normalized_name", None)
    return canonical(name if isinstance(name, str) else str(dist.metadata["Name"]))


def _uninstalled_core() -> DistributionInfo:
    """Describe a core that runs from a source tree, so that its own plugin is there in any case."""
    version = __version__
    entry = EntryPointInfo(GROUP_PLUGINS, "core", _CORE_PLUGIN_MODULE, CORE, version)
    location = os.path.dirname(os.path.dirname(os.path.realpath(_version.__file__)))
    return DistributionInfo(CORE, version, (entry,), location=location)


def _inspect(dist: Any, name: str, location: str) -> DistributionInfo:
    version, requirements = "0", []
    try:
        for key, value in _headers(dist):
            if key == "version":
                version = value
            elif key == "requires-dist" and canonical(re.split(r"[^A-Za-z0-9._-]", value, maxsplit=1)[0]) == CORE:
                requirements.append(value)
        of_rlkit = [e for e in dist.entry_points if e.group in GROUPS]
        entries = tuple(
            EntryPointInfo(e.group, e.name, e.value, name, version)
            for e in sorted(of_rlkit, key=lambda e: (e.group, e.name, e.value))
        )
    except Exception as exc:
        return DistributionInfo(
            name, version, (), None, INCOMPATIBLE, f"its metadata cannot be read ({exc}); reinstall it", location
        )
    info = DistributionInfo(name, version, entries, " and ".join(requirements) or None, location=location)
    if name == RESERVED:
        return _with_state(info, INCOMPATIBLE, "the name 'local' is reserved for components of scripts; rename it")
    if name != CORE:
        for requirement in requirements:
            problem = window_problem(requirement, __version__)
            if problem:
                return _with_state(info, INCOMPATIBLE, problem)
    return info


def _headers(dist: importlib_metadata.Distribution) -> Iterator[tuple[str, str]]:
    """Yield the headers of METADATA; parsing them as an e-mail would cost a third of a listing's time."""
    text = dist.read_text("METADATA")
    if text is None:  # an egg-info directory
        yield "version", str(dist.version)
        for requirement in dist.requires or ():
            yield "requires-dist", requirement
        return
    for line in text.splitlines():
        if not line.strip():
            return
        key, colon, value = line.partition(":")
        if colon and not line[0].isspace():
            yield key.lower(), value.strip()


def _with_state(info: DistributionInfo, state: str, reason: str) -> DistributionInfo:
    entries = tuple(e._replace(state=state) for e in info.entry_points)
    return info._replace(state=state, reason=reason, entry_points=entries)


# -------------------------------------------------------------- RLKIT_PLUGINS, RLKIT_PLUGINS_DISABLE

_warned: set[tuple[str, str]] = set()


def _select(snapshot: Snapshot, env: Mapping[str, str]) -> Snapshot:
    allow_text, deny_text = env.get("RLKIT_PLUGINS"), env.get("RLKIT_PLUGINS_DISABLE", "")
    allow = None if allow_text is None else _names(allow_text)
    deny = _names(deny_text)
    if allow is None and not deny:
        return snapshot
    known = {CORE} | {d.name for d in snapshot.distributions}
    known |= {canonical(e.name) for d in snapshot.distributions for e in d.entry_points}
    for variable, names in (("RLKIT_PLUGINS", allow or set()), ("RLKIT_PLUGINS_DISABLE", deny)):
        _warn_unknown(variable, names - known, known)
    return Snapshot(_apply(d, allow, deny) for d in snapshot.distributions)


def _names(text: str) -> set[str]:
    return {canonical(part) for part in re.split(r"[\s,;]+", text) if part}


def _apply(info: DistributionInfo, allow: set[str] | None, deny: set[str]) -> DistributionInfo:
    if info.name == CORE or info.state == SHADOWED:
        return info

    def hidden_by(*names: str) -> str | None:
        if deny.intersection(names):
            return "RLKIT_PLUGINS_DISABLE names it"
        return "RLKIT_PLUGINS does not name it" if allow is not None and not allow.intersection(names) else None

    reasons = [hidden_by(info.name, canonical(e.name)) for e in info.entry_points] or [hidden_by(info.name)]
    first = next((r for r in reasons if r), None)
    if first is None:
        return info
    if all(reasons):
        return _with_state(info, DISABLED, first)
    entries = tuple(e._replace(state=DISABLED) if r else e for e, r in zip(info.entry_points, reasons, strict=True))
    if info.state == FOUND:
        names = ", ".join(f"{e.group} {e.name}" for e in entries if e.state == DISABLED)
        info = info._replace(reason=f"disabled in part ({names}): {first}")
    return info._replace(entry_points=entries)


def _warn_unknown(variable: str, unknown: set[str], known: set[str]) -> None:
    from rlkit_core.errors import did_you_mean

    for name in sorted(unknown):
        if (variable, name) not in _warned:
            _warned.add((variable, name))
            warnings.warn(
                f"{variable} names {name!r}: no such plugin is installed.{did_you_mean(name, sorted(known))}",
                PluginWarning,
                stacklevel=2,
            )


def top_level(value: str) -> str:
    """Return the top-level package of an entry-point value: ``"rlkit_ppo.x:Y"`` gives ``"rlkit_ppo"``."""
    return re.split(r"[.:\[\s]", value.strip(), maxsplit=1)[0]
