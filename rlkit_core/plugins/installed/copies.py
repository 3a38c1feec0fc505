"""One installation per distribution: which of several copies is the one that Python imports, and what lies beside it.

A name may be installed in two folders of ``sys.path``, twice in one folder (an upgrade that was cut off), or be
imported from a checkout that has no metadata. What is recorded is what runs; what does not run is named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rlkit_core._version import __version__
from rlkit_core.plugins.installed import modules
from rlkit_core.plugins.installed.metadata import (
    Entries,
    Folder,
    Headers,
    Metadata,
    canonical,
    mentions_rlkit,
    parse_entry_points,
    read_headers,
)

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\Z")


class Installation(NamedTuple):
    """A copy of a distribution that has, or seems to have, entry points of rlkit's.

    Attributes:
        entries: ``(group, name, value)``.
        damage: what cannot be read of it; it is not to be used then.
        notes: what is odd, and stops nothing.
        shadowed: why another copy counts; None for the one that does.
    """

    name: str
    version: str
    location: str
    entries: list[tuple[str, str, str]]
    requires: tuple[str, ...]
    requires_python: str | None
    damage: list[str]
    notes: list[str]
    shadowed: str | None = None


class _Copy:
    """One metadata folder, its files read when they are needed."""

    def __init__(self, metadata: Metadata, groups: Sequence[str]) -> None:
        self.metadata = metadata
        self.entries = _entries(metadata, groups)
        self.damage = list(self.entries.damage) if self.entries else []
        self._headers: Headers | None = None

    @property
    def of_rlkit(self) -> bool:
        """Whether it says anything about rlkit."""
        return self.entries is not None and bool(self.entries.entries or self.entries.damage or self.entries.notes)

    @property
    def headers(self) -> Headers:
        """Its headers; empty ones where they cannot be read, which is damage."""
        if self._headers is None:
            try:
                self._headers = read_headers(self.metadata)
            except (OSError, ValueError) as exc:
                self.damage.append(f"its metadata cannot be read ({exc})")
                self._headers = Headers(None, None, (), None)
        return self._headers

    @property
    def name(self) -> str:
        """The name that METADATA gives where it names the folder, and the folder's otherwise."""
        given = canonical(self.headers.name or "")
        return given if _NAME.match(given) and _begins(self.metadata, given) else self.metadata.name

    @property
    def version(self) -> str:
        """The version that METADATA gives, or the folder's name does."""
        return self.headers.version or self.metadata.version or "0"

    def packages(self) -> list[str]:
        """Return the top-level packages that its entry points name."""
        entries = self.entries.entries if self.entries else []
        return list(dict.fromkeys(re.split(r"[.:\[\s]", value, maxsplit=1)[0] for _, _, value in entries))

    def modules_in(self, package: str) -> str:
        """Return the first module that its entry points name in a top-level package."""
        values = [value for _, _, value in self.entries.entries] if self.entries else []
        modules_named = (re.split(r"[:\[\s]", value, maxsplit=1)[0] for value in values)
        return next(name for name in modules_named if name.partition(".")[0] == package)


def _begins(metadata: Metadata, name: str) -> bool:
    stem = canonical(metadata.stem)
    return stem == name or stem.startswith(f"{name}-")


def _entries(metadata: Metadata, groups: Sequence[str]) -> Entries | None:
    try:
        data = metadata.read("entry_points.txt")
    except (OSError, ValueError) as exc:
        # Whose it is cannot be seen, so it is said of those that are ours by their name or by what they require.
        if not metadata.name.startswith("rlkit-") and not _requires_core(metadata):
            return None
        return Entries([], [f"its entry_points.txt cannot be read ({exc})"], [])
    return parse_entry_points(data, groups) if data and mentions_rlkit(data) else None


def _requires_core(metadata: Metadata) -> bool:
    try:
        required = read_headers(metadata).requires
    except (OSError, ValueError):
        return False
    return any(canonical(r).startswith("rlkit-core") for r in required)


def installations(
    folders: Sequence[Folder], groups: Sequence[str], path: Sequence[str] | None, *, core: str
) -> list[Installation]:
    """Return every copy of what has entry points of ``groups``; of one name all but one are ``shadowed``.

    Args:
        folders: what lies on the path, in its order.
        groups: the entry-point groups of rlkit.
        path: that path; None is ``sys.path``.
        core: the name of the core: copies of it are listed where they are not what runs, and no other.
    """
    copies: dict[str, list[_Copy]] = {}
    for folder in folders:
        for metadata in folder.metadata:
            copy = _Copy(metadata, groups)
            name = copy.name if copy.of_rlkit else metadata.name
            copies.setdefault(name, []).append(copy)
    found: list[Installation] = []
    for name, of_name in copies.items():
        if name == core:
            found.extend(_other_cores(of_name, core))
        elif any(copy.of_rlkit for copy in of_name):
            found.extend(_resolved(name, of_name, folders, path))
    return found


def _made(name: str, copy: _Copy, *, shadowed: str | None = None) -> Installation:
    headers, entries = copy.headers, copy.entries or Entries([], [], [])
    location, folder = copy.metadata.location, copy.metadata.folder
    where = folder if shadowed and folder and "same folder" in shadowed else location
    return Installation(
        name,
        copy.version,
        where,
        list(entries.entries),
        headers.requires,
        headers.requires_python,
        copy.damage,
        list(entries.notes),
        shadowed,
    )


def _other_cores(copies: Iterable[_Copy], core: str) -> list[Installation]:
    """Return the copies of the core that are not the one that runs: what they say about it holds for nobody."""
    running = os.path.realpath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))
    found = []
    for copy in copies:
        metadata = copy.metadata
        source = None if metadata.location == running else modules.editable_source(metadata)
        if metadata.location == running and copy.version == __version__:
            continue
        if source is not None and modules.lies_in(running, source):
            continue
        reason = f"what runs is rlkit-core {__version__} in {running}; uninstall this copy"
        found.append(_made(core, copy, shadowed=reason))
    return found


def _resolved(
    name: str, copies: list[_Copy], folders: Sequence[Folder], path: Sequence[str] | None
) -> list[Installation]:
    by_location: dict[str, list[_Copy]] = {}
    for copy in copies:
        by_location.setdefault(copy.metadata.location, []).append(copy)
    lost: list[tuple[_Copy, str]] = []
    kept: list[_Copy] = []
    for here in by_location.values():
        newest = max(here, key=lambda c: (version_key(c.version), c.of_rlkit)) if len(here) > 1 else here[0]
        kept.append(newest)
        reason = f"{newest.version} in the same folder is newer; remove this leftover of an upgrade"
        lost.extend((copy, reason) for copy in here if copy is not newest)
    winner, package, place = _imported(kept, folders, path)
    where = winner.metadata.location
    for copy in kept:
        if copy is winner or _is_source_of(winner, copy):
            continue
        if copy is kept[0]:
            reason = f"Python imports {package} from {where}; uninstall one of the two"
        else:
            reason = f"the copy in {where} comes first on sys.path; uninstall one of the two"
        lost.append((copy, reason))
    result = [_made(name, copy, shadowed=reason) for copy, reason in lost if copy.of_rlkit]
    if winner.of_rlkit:
        result.append(_as_imported(_made(name, winner), winner, package, place))
    return result


def _is_source_of(editable: _Copy, other: _Copy) -> bool:
    """Whether ``other`` is the egg-info that making an editable installation left in its source: the same thing."""
    if editable.version != other.version:
        return False
    source = modules.editable_source(editable.metadata)
    return source is not None and modules.lies_in(other.metadata.location, source)


def _imported(
    copies: list[_Copy], folders: Sequence[Folder], path: Sequence[str] | None
) -> tuple[_Copy, str, modules.Place | None]:
    """Return the copy that Python imports, the package that shows it, and the package's place if it is elsewhere."""
    first = copies[0]
    for package in dict.fromkeys(package for copy in copies for package in copy.packages()):
        holders = modules.folders_with(package, folders)
        if not holders:
            continue
        if len(holders) == 1:
            where: str | None = holders[0].location
            place = None
        else:
            named = next(copy for copy in copies if package in copy.packages())
            place = modules.place_of(named.modules_in(package), path)
            where = place.folder
        if where is None or where == first.metadata.location:
            continue
        source = modules.editable_source(first.metadata) if len(holders) > 1 or len(copies) > 1 else None
        if source is not None and modules.lies_in(where, source):
            continue
        there = next((copy for copy in copies if copy.metadata.location == where), None)
        if there is not None:
            return there, package, None
        if place is not None and (source is not None or any(h.location == first.metadata.location for h in holders)):
            return first, package, place
    return first, "", None


def _as_imported(made: Installation, copy: _Copy, package: str, place: modules.Place | None) -> Installation:
    """Where Python imports a checkout that has no metadata: its version is its own, and the installed one is named."""
    if place is None or place.file is None:
        return made
    version, where = modules.stated_version(place.file), str(place.folder)
    note = (
        f"Python imports {package} from {where}, and not {made.version} in {copy.metadata.location}: "
        "install what you work on (pip install -e), or take it off the path"
    )
    return made._replace(version=version, location=where, notes=[*made.notes, note])


def version_key(version: str) -> tuple[int, object]:
    """Return what versions are compared by; one that is no version is older than any."""
    from packaging.version import InvalidVersion, Version

    try:
        return 1, Version(version)
    except InvalidVersion:
        return 0, version
