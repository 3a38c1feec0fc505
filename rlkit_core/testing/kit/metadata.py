"""What the metadata of a distribution say: that it is found, can be used, and which cores it is for. Nothing runs."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement

from rlkit_core._version import __version__
from rlkit_core.findings import Finding
from rlkit_core.plugins.discovery import (
    CORE,
    FOUND,
    GROUP_ALGORITHMS,
    GROUP_CATALOGS,
    GROUP_COMMANDS,
    INCOMPATIBLE,
    DistributionInfo,
    Snapshot,
    canonical,
)
from rlkit_core.plugins.versions import window_problem

_ABOUT = "metadata"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_NAMED = {GROUP_ALGORITHMS: "algorithm", GROUP_CATALOGS: "catalog", GROUP_COMMANDS: "command"}
_CLOSED = ("<", "<=", "==", "===", "~=")


def library(name: str) -> DistributionInfo | None:
    """What is installed under a name, requires rlkit-core and has none of rlkit's entry points: others build on it."""
    try:
        installed = importlib.metadata.distribution(name)
        of_core = [text for text in installed.requires or () if canonical(Requirement(text).name) == CORE]
    except (importlib.metadata.PackageNotFoundError, InvalidRequirement, ValueError):
        return None
    if not of_core:
        return None
    reason = next(filter(None, (window_problem(text, __version__) for text in of_core)), None)
    state = FOUND if reason is None else INCOMPATIBLE
    return DistributionInfo(canonical(name), installed.version, (), " and ".join(of_core), state, reason)


def metadata_findings(info: DistributionInfo, snapshot: Snapshot) -> Iterator[Finding]:
    """Yield what is odd about a distribution as it is installed among others."""
    for note in info.notes:
        yield Finding(_ABOUT, "warning", note, "mend pyproject.toml, and install it again")
    if info.state != FOUND:
        yield Finding(_ABOUT, "error", f"{info.name} is {info.state}: {info.reason}", "nothing of it can be used so")
        return
    if info.name != CORE:
        yield from _of_core(info)
    if not info.entry_points:
        what = f"{info.name} has none of rlkit's entry points, so it registers nothing that could be looked at"
        yield Finding(_ABOUT, "note", what, "")
    for entry in info.entry_points:
        if entry.state != FOUND:
            what = f"entry point {entry.name!r} of {entry.group} is {entry.state}: {info.reason}"
            yield Finding(_ABOUT, "error", what, "let RLKIT_PLUGINS and RLKIT_PLUGINS_DISABLE leave it")
        if not _NAME.match(entry.name):
            what = f"entry point {entry.name!r} of {entry.group}: use letters, digits, '.', '_' and '-' in names"
            yield Finding(_ABOUT, "error", what, "rename it in pyproject.toml, and install it again")
        noun = _NAMED.get(entry.group)
        others = [
            other.distribution
            for other in snapshot.entry_points(entry.group)
            if noun and canonical(other.name) == canonical(entry.name) and other.distribution != info.name
        ]
        if others:
            what = f"{noun} {entry.name!r} is a name of {', '.join(others)} as well: the short name is an error then"
            yield Finding(_ABOUT, "warning", what, "give it a name of its own")


def _of_core(info: DistributionInfo) -> Iterator[Finding]:
    fix = 'dependencies = ["rlkit-core>=0.1,<0.2"] in pyproject.toml: pip then installs versions that fit together'
    if info.requires_core is None:
        yield Finding(_ABOUT, "error", f"{info.name} does not require rlkit-core", fix)
        return
    try:
        operators = [one.operator for one in Requirement(info.requires_core.partition(" and ")[0]).specifier]
    except InvalidRequirement:
        return  # several, or one that the scan has refused
    if not any(operator in _CLOSED for operator in operators):
        what = f"{info.name} requires {info.requires_core!r}: a later core that it does not fit is installed with it"
        yield Finding(_ABOUT, "warning", what, fix)
