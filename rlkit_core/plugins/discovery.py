"""What is installed: one scan of distribution metadata per process, no plugin code imported.

Little of the standard library and nothing else, because ``rlkit plugins`` and ``rlkit algorithms`` start from here and
should answer in the time a shell command takes.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rlkit_core._version import __version__
from rlkit_core.plugins.installed import modules
from rlkit_core.plugins.installed.copies import Installation, installations
from rlkit_core.plugins.installed.metadata import canonical as canonical
from rlkit_core.plugins.installed.metadata import read_path
from rlkit_core.plugins.installed.variables import PluginList
from rlkit_core.plugins.versions import python_problem, window_problem

CORE = "rlkit-core"
GROUP_PLUGINS = "rlkit.plugins"
GROUP_ALGORITHMS = "rlkit.algorithms"
GROUP_CATALOGS = "rlkit.catalogs"
GROUP_COMMANDS = "rlkit.commands"
GROUPS = (GROUP_PLUGINS, GROUP_ALGORITHMS, GROUP_CATALOGS, GROUP_COMMANDS)
RESERVED = "local"

FOUND, DISABLED, INCOMPATIBLE, SHADOWED = "found", "disabled", "incompatible", "shadowed"

_CORE_PLUGIN_MODULE = "rlkit_core.plugins.builtin"
_CORE_LOCATION = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


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
        location: the folder on ``sys.path`` that it lies in.
        notes: what is wrong with it although it can be used: a misspelt group, another copy that Python imports.
    """

    name: str
    version: str
    entry_points: tuple[EntryPointInfo, ...]
    requires_core: str | None = None
    state: str = FOUND
    reason: str | None = None
    location: str = ""
    notes: tuple[str, ...] = ()


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

    def owner(self, module: str) -> DistributionInfo | None:
        """Return which of them a module belongs to, without importing it; None where it is none of theirs.

        Namespace packages belong to nobody, so what lies below them counts. Where two distributions share a package, it
        is the one that installed the module's file, and else the one whose entry points name the longest part of it.
        """
        near = [
            (_module_of(e.value), d)
            for d in self.distributions
            if d.state != SHADOWED
            for e in d.entry_points
            if top_level(e.value) == top_level(module)
        ]
        if not near:
            return None
        package = modules.place_of(module).package
        near = [(named, d) for named, d in near if modules.place_of(named).package == package]
        owners = {d.name: d for _, d in near}
        if len(owners) > 1:
            installer = modules.installer_of(module)
            if installer and installer[0] in owners:
                return owners[installer[0]]
        return max(near, key=lambda n: (_common(module, n[0]), -n[0].count(".")))[1] if near else None

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
            DistributionInfo(
                **{
                    **d,
                    "entry_points": tuple(EntryPointInfo(**e) for e in d["entry_points"]),
                    "notes": tuple(d.get("notes", ())),
                }
            )
            for d in data["distributions"]
        )


def _module_of(value: str) -> str:
    return re.split(r"[:\[\s]", value.strip(), maxsplit=1)[0]


def _common(a: str, b: str) -> int:
    """How many leading parts two dotted names share."""
    count = 0
    for one, other in zip(a.split("."), b.split("."), strict=False):
        if one != other:
            break
        count += 1
    return count


# --------------------------------------------------------------------------- the scan

_cached: Snapshot | None = None


def scan(path: Sequence[str] | None = None, *, env: Mapping[str, str] | None = None, refresh: bool = False) -> Snapshot:
    """Read the metadata of what is installed; once per process, then from memory.

    Whatever lies in the folders, nothing is raised: what cannot be read is reported as ``"incompatible"``.

    Args:
        path: directories to look in instead of ``sys.path`` (never cached).
        env: where ``RLKIT_PLUGINS`` and ``RLKIT_PLUGINS_DISABLE`` are read from; ``os.environ`` unless given.
        refresh: forget the last scan, for instance after installing something in a notebook.
    """
    global _cached
    env = os.environ if env is None else env
    if path is not None:
        return _select(_read(path), env)
    if refresh or _cached is None:
        if refresh:
            modules.forget()
        _cached = _read(None)
    return _select(_cached, env)


def _read(path: Sequence[str] | None) -> Snapshot:
    found = installations(read_path(path), GROUPS, path, core=CORE)
    infos = [_core()]
    infos += [_info(i) for i in found]
    versions = {i.name: i.version for i in infos if i.state != SHADOWED}
    return Snapshot(
        info if info.state != FOUND or info.name == CORE else _checked(info, installation, versions)
        for info, installation in zip(infos, [None, *found], strict=True)
    )


def _core() -> DistributionInfo:
    """Describe the core that runs, whatever metadata of that name lies about."""
    entry = EntryPointInfo(GROUP_PLUGINS, "core", _CORE_PLUGIN_MODULE, CORE, __version__)
    return DistributionInfo(CORE, __version__, (entry,), location=_CORE_LOCATION)


def _info(installation: Installation) -> DistributionInfo:
    name, version = installation.name, installation.version
    entries = tuple(
        EntryPointInfo(group, entry, value, name, version) for group, entry, value in sorted(installation.entries)
    )
    of_core = [r for r in installation.requires if _required(r) == CORE]
    info = DistributionInfo(
        name,
        version,
        entries,
        " and ".join(of_core) or None,
        location=installation.location,
        notes=tuple(installation.notes),
    )
    if installation.shadowed:
        return _with_state(info, SHADOWED, installation.shadowed)
    if installation.damage:
        return _with_state(info, INCOMPATIBLE, f"{'; '.join(installation.damage)}; reinstall it")
    if name == RESERVED:
        return _with_state(info, INCOMPATIBLE, "the name 'local' is reserved for components of scripts; rename it")
    if not entries and info.notes:
        return _with_state(info._replace(notes=()), INCOMPATIBLE, "; ".join(info.notes))
    return info


@functools.lru_cache(maxsize=1024)  # plugins require much the same
def _required(requirement: str) -> str:
    return canonical(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])


def _checked(
    info: DistributionInfo, installation: Installation | None, versions: Mapping[str, str]
) -> DistributionInfo:
    """Check what a distribution requires of Python, of the core and of other plugins; the rest is pip's concern."""
    if installation is None:
        return info
    problems = [python_problem(installation.requires_python)] if installation.requires_python else []
    for requirement in installation.requires:
        other = _required(requirement)
        if other in versions and other != info.name and versions[other] != modules.UNKNOWN_VERSION:
            problems.append(window_problem(requirement, versions[other], other))
    reason = next(filter(None, problems), None)
    return info if reason is None else _with_state(info, INCOMPATIBLE, reason)


def _with_state(info: DistributionInfo, state: str, reason: str) -> DistributionInfo:
    entries = tuple(e._replace(state=state) for e in info.entry_points)
    return info._replace(state=state, reason=reason, entry_points=entries)


# -------------------------------------------------------------- RLKIT_PLUGINS, RLKIT_PLUGINS_DISABLE


def _select(snapshot: Snapshot, env: Mapping[str, str]) -> Snapshot:
    allow_text = env.get("RLKIT_PLUGINS")
    allow = None if allow_text is None else PluginList(allow_text)
    deny = PluginList(env.get("RLKIT_PLUGINS_DISABLE", ""))
    if allow is None and not deny.items:
        return snapshot
    pairs: list[tuple[str, str | None]] = [(d.name, e.name) for d in snapshot.distributions for e in d.entry_points]
    pairs += [(d.name, None) for d in snapshot.distributions]
    for variable, plugin_list in (("RLKIT_PLUGINS", allow), ("RLKIT_PLUGINS_DISABLE", deny)):
        for item in plugin_list.unmatched(pairs) if plugin_list else ():
            _warn_unknown(variable, item, pairs)
    return Snapshot(_apply(d, allow, deny) for d in snapshot.distributions)


def _apply(info: DistributionInfo, allow: PluginList | None, deny: PluginList) -> DistributionInfo:
    if info.name == CORE or info.state == SHADOWED:
        return info

    def hidden_by(entry: str | None) -> str | None:
        if deny.names(info.name, entry):
            return "RLKIT_PLUGINS_DISABLE names it"
        return "RLKIT_PLUGINS does not name it" if allow is not None and not allow.names(info.name, entry) else None

    reasons = [hidden_by(e.name) for e in info.entry_points] or [hidden_by(None)]
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


def _warn_unknown(variable: str, item: str, pairs: Iterable[tuple[str, str | None]]) -> None:
    from rlkit_core.errors import did_you_mean
    from rlkit_core.plugins.guard import notice

    if any(c in item for c in "*?["):
        said = "it matches nothing that is installed."
    else:
        known = {d for d, _ in pairs} | {canonical(e) for _, e in pairs if e}
        if "/" in item:
            known = {f"{d}/{canonical(e)}" for d, e in pairs if e}
        said = f"no such {'entry point' if '/' in item else 'plugin'} is installed.{did_you_mean(item, sorted(known))}"
    notice((variable, item), f"{variable} names {item!r}: {said}")


def top_level(value: str) -> str:
    """Return the top-level package of an entry-point value: ``"rlkit_ppo.x:Y"`` gives ``"rlkit_ppo"``."""
    return re.split(r"[.:\[\s]", value.strip(), maxsplit=1)[0]
