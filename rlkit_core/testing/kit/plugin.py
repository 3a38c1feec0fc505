"""``check_plugin``: everything that a distribution offers, held against its contracts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import Any

from rlkit_core import contracts
from rlkit_core.cli.examine import NOTE, Row, examine
from rlkit_core.errors import PluginNotFoundError, RLKitError, did_you_mean
from rlkit_core.findings import Finding
from rlkit_core.plugins import PluginWarning
from rlkit_core.plugins.contract.hooks import hook_problems
from rlkit_core.plugins.discovery import (
    CORE,
    FOUND,
    GROUP_ALGORITHMS,
    GROUP_CATALOGS,
    RESERVED,
    DistributionInfo,
    Snapshot,
    canonical,
)
from rlkit_core.plugins.host import PluginHost, default_host, use_host
from rlkit_core.plugins.records import Record, Registered
from rlkit_core.plugins.states import FAILED
from rlkit_core.testing.kit.checks import algorithm_findings, catalog_findings, record_findings
from rlkit_core.testing.kit.contract import KitReport, report_of
from rlkit_core.testing.kit.imports import ENDED, import_findings, packages_of
from rlkit_core.testing.kit.metadata import library, metadata_findings


def check_plugin(plugin: str | object, *, fast: bool = False, isolated: bool = True, strict: bool = True) -> KitReport:
    """Look at everything that a plugin offers, and say what its users would trip over, with the fix.

    Of an installed distribution: its metadata; what importing it costs and does; entry points and records and what they
    name; and of each component, mixin, service, catalog and algorithm what its contract asks: see
    :mod:`rlkit_core.testing.contracts`. Of a module or object with hooks, which need not be installed: its records.

    Args:
        plugin: the name of a distribution, as pip has it; or a module or object, as its entry point would name.
        fast: train nothing, and start no processes but the one that imports are looked at in.
        isolated: look at imports in a fresh interpreter. Without, an import that was done before says nothing.
        strict: raise errors, and warn of the rest; otherwise only return them.

    Raises:
        PluginNotFoundError: nothing of that name that has rlkit's entry points, or requires rlkit-core, is installed.
        ContractError: there are errors, and it is ``strict``.
    """
    snapshot = default_host().snapshot
    host = PluginHost(snapshot, {**os.environ, "RLKIT_PLUGINS_STRICT": ""})
    own_name = str(getattr(plugin, "__name__", type(plugin).__name__))
    info = _installed(plugin, snapshot) if isinstance(plugin, str) else None
    name = own_name if info is None else info.name

    def find() -> list[Finding]:
        with use_host(host), warnings.catch_warnings():
            warnings.simplefilter("ignore", PluginWarning)  # of other plugins
            if info is not None:
                return list(_of_distribution(host, info, fast=fast, isolated=isolated))
            return list(_of_object(host, plugin, fast=fast))

    return report_of(f"plugin {name}", find, strict=strict)


def _installed(distribution: str, snapshot: Snapshot) -> DistributionInfo:
    info = snapshot.distribution(distribution) or library(distribution)
    if info is None:
        known = [one.name for one in snapshot.distributions]
        near = did_you_mean(canonical(distribution), known) or f" Installed: {', '.join(known)}."
        raise PluginNotFoundError(
            f"no distribution {distribution!r} with rlkit's entry points is installed.{near} After a change of entry "
            "points, install it again: pip install -e ."
        )
    return info


def _of_distribution(host: PluginHost, info: DistributionInfo, *, fast: bool, isolated: bool) -> Iterator[Finding]:
    name = info.name
    yield from metadata_findings(info, host.snapshot)
    if info.state != FOUND:
        return
    if isolated and name != CORE:
        of_imports = list(import_findings(name, () if info.entry_points else packages_of(name)))
        yield from of_imports
        if any(one.kind == ENDED for one in of_imports):
            return  # it would do the same here
    if not info.entry_points:
        return
    rows = examine(host, only=name)
    yield from (finding for row in rows for finding in _of_row(row, isolated=isolated))
    broken = {(row["what"], row["name"]) for row in rows if row["state"] == FAILED}
    for record in records_of(host, name):
        if (noun_of(record), record.name) not in broken:
            yield from record_findings(record, fast=fast)
    for entry in info.entry_points:
        if entry.state != FOUND or (entry.group, entry.name) in broken:
            continue
        if entry.group == GROUP_CATALOGS:
            yield from catalog_findings(host.load_entry_point(entry))
        elif entry.group == GROUP_ALGORITHMS and not fast:
            yield from algorithm_findings(host.load_entry_point(entry))


def _of_object(host: PluginHost, plugin: object, *, fast: bool) -> Iterator[Finding]:
    fix = "write it as docs/reference/hooks.md says"
    try:
        name = host.register(plugin)
    except RLKitError as error:
        yield Finding("plugins", "error", str(error), fix)
        return
    for hook, function in host.hooks_of(RESERVED, name).items():
        yield from (Finding("plugins", "error", problem, fix) for problem in hook_problems(hook, function))
    for record in records_of(host, RESERVED):
        try:
            problems = list(contracts.record_problems(record, host))
        except RLKitError as error:
            problems = [str(error)]
        kind = noun_of(record)
        yield from (Finding(kind, "error", f"{kind} {record.name!r}: {problem}", fix) for problem in problems)
        if not problems:
            yield from record_findings(record, fast=fast)


def noun_of(record: Registered[Record]) -> str:
    """What a record is, in words."""
    return record.kind.replace("_", " ")


def records_of(host: PluginHost, name: str) -> list[Registered[Record]]:
    """What the plugins of one distribution registered."""
    records: list[Registered[Record]] = [*host.registry.components(), *host.module_apis, *host.services()]
    return [record for record in records if record.origin.distribution == name]


def _of_row(row: Row, *, isolated: bool) -> Iterator[Finding]:
    """What the examination of an entry point or a record says."""
    about = row["what"].removeprefix("rlkit.")
    where = f"{about} {row['name']!r}"
    if row["state"] == FAILED:
        yield Finding(about, "error", f"{where}: {row['reason']}", row["remedy"] or "see rlkit doctor")
    elif row["state"] == NOTE:
        return  # metadata say so
    for note in row["notes"]:
        if note.startswith("its import changed"):
            if not isolated:
                level: Any = "error" if note.endswith("put back") else "warning"
                yield Finding("import", level, f"{where}: {note}", "change nothing of the process at import")
        elif "deprecated" in note:
            yield Finding(about, "warning", f"{where}: {note}", "write what the note says")
