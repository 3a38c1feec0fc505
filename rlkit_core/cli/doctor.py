"""``rlkit doctor``: load every plugin, import everything entry points and records name, and say what fails."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import click

from rlkit_core.plugins import PluginWarning
from rlkit_core.plugins.discovery import (
    CORE,
    FOUND,
    GROUP_COMMANDS,
    GROUP_PLUGINS,
    INCOMPATIBLE,
    DistributionInfo,
    EntryPointInfo,
    scan,
)
from rlkit_core.plugins.host import PluginHost
from rlkit_core.plugins.records import Record, Registered
from rlkit_core.plugins.states import FAILED, PluginState
from rlkit_core.plugins.used import versions

OK = "ok"
_TAIL = 6  # lines of a traceback that text output shows; JSON has all of it


@click.command(help="Load every plugin and report what fails, and what to do. Exits with 1 if anything failed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Examine every plugin."""
    # What a plugin prints while it is imported goes to stderr: stdout belongs to the report.
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        host = PluginHost(scan(), {**os.environ, "RLKIT_PLUGINS_STRICT": ""})
        checks = examine(host)
    bad = sum(c["state"] in (FAILED, INCOMPATIBLE) for c in checks)
    if as_json:
        click.echo(json.dumps({"versions": versions(), "failed": bad, "checks": checks}, indent=2))
    else:
        click.echo(", ".join(f"{name} {version}" for name, version in versions().items()))
        for check in checks:
            click.echo(_text(check))
        click.echo(f"{len(checks)} checks, {bad} failed." if bad else f"{len(checks)} checks, all well.")
    ctx.exit(1 if bad else 0)


def examine(host: PluginHost) -> list[dict[str, Any]]:
    """Load everything and return one record per entry point and per component, module API and service."""
    host.load()
    states = {(s.distribution, s.entry_point): s for s in host.states}
    checks = []
    for info in host.snapshot.distributions:
        if not info.entry_points:
            checks.append(_check(info, "distribution", info.name, "", info.state, reason=info.reason))
        for entry in info.entry_points:
            if entry.state != FOUND:
                checks.append(_check(info, entry.group, entry.name, entry.value, entry.state, reason=info.reason))
            elif entry.group == GROUP_PLUGINS:
                checks.append(_loaded(info, entry, states[entry.distribution, entry.name]))
            else:
                checks.append(_imported(info, entry.group, entry.name, entry.value, _loader(host, entry)))
        if info.state == FOUND:
            checks.extend(_records(host, info))
    return checks


def _loader(host: PluginHost, entry: EntryPointInfo) -> Callable[[], Any]:
    def load() -> None:
        value = host.load_entry_point(entry)
        if entry.group == GROUP_COMMANDS:
            from rlkit_core.cli.app import BUILT_IN

            if not isinstance(value, click.Command):
                raise TypeError(f"{entry.value!r} is {value!r}, expected a click command")
            if entry.name in BUILT_IN:
                raise ValueError(f"rlkit has a command {entry.name!r} of its own, so this one is never run")
        elif not isinstance(value, type):
            raise TypeError(f"{entry.value!r} is {value!r}, expected a class")

    return load


def _records(host: PluginHost, info: DistributionInfo) -> Iterator[dict[str, Any]]:
    """Check the targets of what this distribution's plugins registered."""
    records: list[Registered[Record]] = [*host.registry.components(), *host.module_apis, *host.services()]
    for registered in records:
        if registered.origin.distribution != info.name:
            continue
        kind = registered.kind.replace("_", " ")
        target = str(getattr(registered.record, registered.record.parts[0]))

        def load(registered: Registered[Record] = registered) -> None:
            for part in registered.record.parts:
                registered.load(part)

        yield _imported(info, kind, registered.name, target, load)


def _loaded(info: DistributionInfo, entry: EntryPointInfo, state: PluginState) -> dict[str, Any]:
    became = FAILED if state.state == FAILED else OK
    details: dict[str, str | float | None] = {name: getattr(state, name) for name in ("reason", "remedy", "traceback")}
    details["seconds"] = round(state.seconds, 4)
    return _check(info, entry.group, entry.name, entry.value, became, **details)


def _imported(info: DistributionInfo, what: str, name: str, value: str, load: Callable[[], Any]) -> dict[str, Any]:
    try:
        load()
    except KeyboardInterrupt:
        raise
    except BaseException as exc:
        origin = exc.__cause__ or exc
        trace = "".join(traceback.format_exception(type(origin), origin, origin.__traceback__))
        remedy = f"update or reinstall {info.name}"
        if info.name != CORE:
            remedy += f", or hide it with RLKIT_PLUGINS_DISABLE={info.name}"
        return _check(info, what, name, value, FAILED, reason=str(exc), remedy=remedy, traceback=trace)
    return _check(info, what, name, value, OK)


def _check(
    info: DistributionInfo, what: str, name: str, value: str, state: str, **details: str | float | None
) -> dict[str, Any]:
    """One row of the report; ``found`` holds reason, remedy, traceback and seconds, where there are any."""
    row = {"distribution": info.name, "version": info.version, "what": what, "name": name, "value": value}
    return {**row, "state": state, **dict.fromkeys(("reason", "remedy", "traceback", "seconds")), **details}


def _text(check: dict[str, Any]) -> str:
    what = check["what"].removeprefix("rlkit.")
    lines = [f"{check['state'].upper():<13}{check['distribution']} {check['version']}  {what} {check['name']}"]
    if check["reason"]:
        lines.append(f"    {check['reason']}")
    if check["state"] == FAILED:
        if check["traceback"]:
            lines.extend(f"    | {line}" for line in check["traceback"].rstrip().splitlines()[-_TAIL:])
        if check["remedy"]:
            lines.append(f"    remedy: {check['remedy']}")
    return "\n".join(lines)
