"""``rlkit report RUN...``."""

from __future__ import annotations

from pathlib import Path

import click

from rlkit_tools.compare.comparison import runs_argument, target_option
from rlkit_tools.compare.folder import groups_of, read_runs


@click.command()
@runs_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page, which is replaced.",
)
@target_option
def report(runs: tuple[Path, ...], output: Path, target: float | None) -> None:
    """Write a page about RUNS, in one file that needs no network.

    RUNS are run folders, or folders of them. Those that differ in their seed alone are one curve with an interval. The
    page has the curves, the steps to levels, what differs, how each run ended, and with which versions.
    """
    from rlkit_tools.report.page import page

    output.write_text(page(groups_of(read_runs(runs)), target), encoding="utf-8")
    click.echo(f"{output}: {len(read_runs(runs))} runs")
