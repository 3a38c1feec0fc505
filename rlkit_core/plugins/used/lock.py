"""What a run uses, and nothing else: a lock that runs, checkpoints and workers keep, and how it is compared.

What is merely installed takes no part in it. The names of roles are those that people see: ``core``, ``algorithm``,
``learner``, ``learners``, ``module``, ``catalog``, ``encoder``, ``head``, ``distribution``, ``driver``, ``env``,
``wrapper``, ``executor``, ``step engine``, ``callbacks``, ``writer``, ``library``.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from operator import attrgetter
from typing import Any

from attrs import field, frozen

from rlkit_core._version import __version__
from rlkit_core.errors import AmbiguousComponentError, PluginError
from rlkit_core.plugins import API_VERSION
from rlkit_core.plugins.discovery import CORE, GROUP_CATALOGS, RESERVED, SHADOWED, Snapshot, top_level
from rlkit_core.plugins.lookup import find
from rlkit_core.plugins.records import Origin

LIBRARIES = ("torch", "numpy", "gymnasium")
"""What every run stands on."""


@frozen(order=True)
class Used:
    """One thing that is used.

    Attributes:
        role: what it is for.
        id: ``"distribution/name"``, or a library's name.
        distribution: who supplies it; ``"local"`` is a script.
        version: of the distribution.
    """

    role: str
    id: str
    distribution: str
    version: str

    @classmethod
    def of(cls, role: str, name: str, origin: Origin) -> Used:
        """A thing of that name and origin."""
        return cls(role, f"{origin.distribution}/{name}", origin.distribution, origin.version)

    @classmethod
    def class_and_bases(cls, role: str, used: type, origin_of: Callable[[Any], Origin]) -> Lock:
        """A class that is not the core's, and those that it builds on, of whichever distribution that is installed."""
        bases = (base for base in used.__mro__ if not _is_stdlib(base.__module__))
        found = [cls.of(role, base.__qualname__, origin_of(base)) for base in bases]
        own = [one for one in found[:1] if one.distribution != CORE]
        others = (CORE, *LIBRARIES, RESERVED)  # in every lock, or of no distribution
        return Lock([*own, *(one for one in found if one.distribution not in others)])

    def __str__(self) -> str:
        return f"{self.role} {self.id!r}"


def used_catalogs(catalogs: Iterable[object], snapshot: Snapshot, origin_of: Callable[[Any], Origin]) -> Iterator[Used]:
    """What a config lists as catalogs, names or classes; a name that means nothing, or several, is left out."""
    for catalog in catalogs:
        if isinstance(catalog, type):
            yield Used.of("catalog", catalog.__qualname__, origin_of(catalog))
        elif isinstance(catalog, str):
            with suppress(PluginError, AmbiguousComponentError):
                entry = find(snapshot, GROUP_CATALOGS, catalog)
                yield Used.of("catalog", entry.name, Origin(entry.distribution, entry.version))


def _is_stdlib(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


_FIELDS = attrgetter("role", "id", "distribution", "version")


def _in_order(entries: Iterable[Used]) -> tuple[Used, ...]:
    return tuple(sorted(set(entries), key=_FIELDS))  # comparing field by field is slow, and each save sorts thousands


@frozen
class Lock:
    """Everything that is used, each thing once, sorted; whatever order things were installed in."""

    entries: tuple[Used, ...] = field(default=(), converter=_in_order)

    def __or__(self, other: Lock) -> Lock:
        return Lock((*self.entries, *other.entries))

    @property
    def versions(self) -> dict[str, str]:
        """The version of each distribution; scripts (``local``) have none."""
        return {e.distribution: e.version for e in self.entries if e.distribution != RESERVED}

    def to_dict(self) -> dict[str, Any]:
        """JSON values, which :meth:`from_dict` reads."""
        return {"used": [[e.role, e.id, e.distribution, e.version] for e in self.entries], "digest": self.digest()}

    @classmethod
    def from_dict(cls, data: object) -> Lock:
        """Read what :meth:`to_dict` gave.

        Raises:
            ValueError: it is something else.
        """
        rows = data.get("used") if isinstance(data, Mapping) else None
        if not isinstance(rows, list) or not all(
            isinstance(row, list) and len(row) == 4 and all(isinstance(text, str) for text in row) for row in rows
        ):
            raise ValueError('this is no lock: expected {"used": [[role, id, distribution, version], ...]}')
        return cls(Used(*row) for row in rows)

    def digest(self) -> str:
        """sha256 of the entries as canonical JSON."""
        return digest_of([[e.role, e.id, e.distribution, e.version] for e in self.entries])

    def requirements(self) -> list[str]:
        """Lines for ``pip install -r``, sorted."""
        return sorted(requirement(name, version) for name, version in self.versions.items())

    def compare(self, installed: Callable[[str], str | None]) -> list[str]:
        """How an installation differs from what is used here: sentences with the line to install.

        Args:
            installed: version of a distribution, or None where it is not installed.
        """
        problems = []
        for name, version in sorted(self.versions.items()):
            found = installed(name)
            if found == version:
                continue
            uses = [str(e) for e in self.entries if e.distribution == name and e.role not in ("core", "library")]
            used = f", used for {', '.join(uses)}," if uses else ""
            seen = "is not installed here" if found is None else f"is {found} here"
            problems.append(f"{name} {version}{used} {seen}: pip install {requirement(name, version)}")
        return problems


def requirement(name: str, version: str) -> str:
    """``name==version``, without a local label (``+cpu``), which no index knows."""
    return f"{name}=={version.partition('+')[0]}"


def digest_of(data: object) -> str:
    """sha256 of JSON values, equal for equal values."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()


def build_digest(lock: Lock, config: object, choices: object) -> str:
    """What stands for a build: equal where lock, config (as JSON values) and the traces of all choices are equal."""
    return digest_of([lock.digest(), config, choices])


# --------------------------------------------------------------------------- versions


_seen: dict[str, str] = {}


def library_version(name: str) -> str | None:
    """The version of a distribution as this process first saw it, or None.

    What is imported says it itself: pip may have put another one in its place since.
    """
    if name not in _seen:
        found = _version_now(name)
        if found is None:
            return None
        _seen[name] = found
    return _seen[name]


def _version_now(name: str) -> str | None:
    module = sys.modules.get(name)
    said = getattr(module, "__version__", None) if name in (*LIBRARIES, "pluggy") else None
    if isinstance(said, str):
        return str(said)
    import importlib_metadata

    try:
        return importlib_metadata.version(name)
    except Exception:  # not installed, or with metadata that cannot be read
        return None


def installed_version(snapshot: Snapshot, name: str) -> str | None:
    """The version of a distribution that Python would import here, or None."""
    if name == CORE:
        return __version__
    info = snapshot.distribution(name)
    if info is not None:
        return info.version
    return library_version(name) if name in LIBRARIES else _version_now(name)


def versions() -> dict[str, str]:
    """Versions of the core, its plugin API, Python and the libraries: what reports, runs and checkpoints tell."""
    libraries = {name: library_version(name) for name in ("torch", "gymnasium", "numpy", "pluggy")}
    return {
        CORE: __version__,
        "plugin-api": ".".join(map(str, API_VERSION)),
        "python": platform.python_version(),
        **{name: version for name, version in libraries.items() if version is not None},
    }


def foundation() -> Lock:
    """The core and the libraries, which everything uses."""
    libraries = ((name, library_version(name)) for name in LIBRARIES)
    core = Used("core", CORE, CORE, __version__)
    return Lock([core, *(Used("library", name, name, version) for name, version in libraries if version)])


def installed_requirements(snapshot: Snapshot) -> list[str]:
    """Lines for ``pip install -r`` of the core and all plugins that are installed, sorted."""
    found = {d.name: d.version for d in snapshot.distributions if d.state != SHADOWED}
    return sorted(requirement(name, version) for name, version in {**found, CORE: __version__}.items())


# --------------------------------------------------------------------------- in checkpoints


def packages_by_distribution(snapshot: Snapshot) -> dict[str, list[str]]:
    """Which modules each plugin's classes lie in: top-level packages, or longer names where plugins share one."""
    tops: dict[str, set[str]] = {}
    modules: dict[str, set[str]] = {}
    for info in snapshot.distributions:
        if info.state == SHADOWED:
            continue
        for entry in info.entry_points:
            tops.setdefault(top_level(entry.value), set()).add(info.name)
            modules.setdefault(info.name, set()).add(entry.value.partition(":")[0].partition("[")[0].strip())
    return {
        name: sorted({top_level(m) if len(tops[top_level(m)]) == 1 else m for m in inside})
        for name, inside in modules.items()
    }


def listed(lock: Lock, snapshot: Snapshot) -> list[dict[str, Any]]:
    """The plugins of a lock as checkpoints list them: ``{"name", "version", "packages"}``."""
    packages = packages_by_distribution(snapshot)
    return [
        {"name": name, "version": version, "packages": packages[name]}
        for name, version in sorted(lock.versions.items())
        if name in packages
    ]


__all__ = [
    "LIBRARIES",
    "Lock",
    "Used",
    "build_digest",
    "digest_of",
    "foundation",
    "installed_requirements",
    "installed_version",
    "library_version",
    "listed",
    "requirement",
    "used_catalogs",
    "versions",
]
