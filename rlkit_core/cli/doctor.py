"""``rlkit doctor``: load every plugin, hold what it offers against its contract, and say what fails and what to do."""

from __future__ import annotations

import json
import os
import warnings
from typing import Any

import click

from rlkit_core.cli.examine import Row, examine
from rlkit_core.cli.listing import shown
from rlkit_core.cli.output import stdout_for_the_report
from rlkit_core.plugins import PluginWarning
from rlkit_core.plugins.discovery import INCOMPATIBLE, scan
from rlkit_core.plugins.host import PluginHost
from rlkit_core.plugins.states import FAILED
from rlkit_core.plugins.used.lock import versions

_TAIL = 6  # lines of a traceback that text output shows; JSON has all of it


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--isolated", is_flag=True, help="Give each plugin a process, so that none can end or hang this one.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="With --isolated: the time that a plugin has.  [default: 60]",
)
@click.option("--times", is_flag=True, help="Say what importing each plugin takes, each in a process, one by one.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool, isolated: bool, timeout: float | None, times: bool) -> None:
    """Load every plugin and report what fails, and what to do. Exits with 1 if anything failed.

    \b
    Examples:
      rlkit doctor
      rlkit doctor --isolated --timeout 20
    """
    if timeout is not None and not (isolated or times):
        raise click.UsageError("--timeout needs --isolated: here, all plugins share this process")
    report: dict[str, Any] = {"versions": versions()}
    if isolated or times:
        from rlkit_core.cli.isolated import examine_each

        checks, seconds = examine_each(scan(), timeout=timeout or 60.0, timed=times)
        report |= {"times": seconds} if times else {}
    else:
        # What a plugin prints while it is imported goes to stderr: stdout belongs to the report.
        with stdout_for_the_report(), warnings.catch_warnings():
            warnings.simplefilter("ignore", PluginWarning)
            checks = examine(PluginHost(scan(), {**os.environ, "RLKIT_PLUGINS_STRICT": ""}))
    bad = sum(c["state"] in (FAILED, INCOMPATIBLE) for c in checks)
    report |= {"failed": bad, "checks": checks}
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        click.echo(", ".join(f"{name} {version}" for name, version in report["versions"].items()))
        for check in checks:
            click.echo(_text(check))
        for time in report.get("times", ()):
            click.echo(_time(time))
        click.echo(f"{len(checks)} checks, {bad} failed." if bad else f"{len(checks)} checks, all well.")
    ctx.exit(1 if bad else 0)


def _text(check: Row) -> str:
    what = check["what"].removeprefix("rlkit.")
    lines = [f"{check['state'].upper():<13}{check['distribution']} {check['version']}  {what} {check['name']}"]
    lines += ["    " + shown(line) for line in (check["reason"] or "").splitlines()]
    lines += ["    note: " + shown(note) for note in check["notes"]]
    if check["state"] == FAILED:
        lines += ["    | " + shown(line) for line in (check["traceback"] or "").rstrip().splitlines()[-_TAIL:]]
        lines += ["    remedy: " + shown(check["remedy"])] if check["remedy"] else []
    return "\n".join([shown(lines[0]), *lines[1:]])


def _time(time: dict[str, Any]) -> str:
    slowest = f"  ({time['slowest']} {time['slowest_seconds']:.2f} s)" if time["slowest"] else ""
    return f"{time['seconds']:9.2f} s  importing {time['distribution']} {time['version']}{slowest}"
