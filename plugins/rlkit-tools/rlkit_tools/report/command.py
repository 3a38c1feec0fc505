"""``rlkit report RUN...``."""

from __future__ import annotations

from pathlib import Path

import click

from rlkit_tools.compare.comparison import runs_argument, target_option
from rlkit_tools.output_file import OutputFile


@click.command()
@runs_argument
@click.option(
    "-o",
    "--output",
    type=OutputFile(".html", ".htm"),
    default=Path("report.html"),
    show_default=True,
    help="The page, which is replaced.",
)
@target_option
def report(runs: tuple[Path, ...], output: Path, target: float | None) -> None:
    """Write a page about RUNS, in one file that needs no network.

    RUNS are run folders, or folders of them. Those that differ in their seed alone are one curve with an interval. The
    page has the curves, the steps to levels, what differs, how each run ended, and with which versions.

    \b
    Examples:
      rlkit report runs
      rlkit report runs/one runs/other -o pages/both.html --target 475
    """
    from rlkit_tools.compare.folder import groups_of, read_runs
    from rlkit_tools.report.page import page

    read = read_runs(runs)
    text = page(groups_of(read), target)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    click.echo(f"{output}: {len(read)} {'run' if len(read) == 1 else 'runs'}")
