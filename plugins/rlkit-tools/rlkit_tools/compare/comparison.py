"""``rlkit compare RUN...``: groups of runs beside each other."""

from __future__ import annotations

import csv
import math
import string
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from attrs import asdict, frozen

from rlkit_core.errors import ConfigError
from rlkit_tools.compare.statistics import interquartile_mean, interval
from rlkit_tools.output_file import OutputFile

if TYPE_CHECKING:  # which would import torch for --help
    from rlkit_tools.compare.folder import Curve, RunData

_POINTS = 200
HEAD = ("GROUP", "ALGORITHM", "ENV", "RUNS", "IQM", "95% INTERVAL", "TARGET", "REACHED", "STEPS TO TARGET")


@frozen
class Row:
    """A group of runs that differ in their seeds alone.

    Attributes:
        group: a letter, ``A`` of the first.
        runs: how many; those without a return count nowhere else.
        iqm: interquartile mean of the returns at the end; ``low`` and ``high``: its 95 % interval.
        target: the return whose steps are counted, or None; ``reached``: how many runs had it.
        steps_to_target: the median over all runs; infinite where half of them never had it.
    """

    group: str
    algorithm: str
    env: str
    runs: int
    iqm: float
    low: float
    high: float
    target: float | None
    reached: int
    steps_to_target: float


def compare_groups(groups: Sequence[Sequence[RunData]], target: float | None = None) -> list[Row]:
    """A row for each group; the target is the runs' own unless given."""
    return [_row(name_of(index), group, target) for index, group in enumerate(groups)]


def name_of(index: int) -> str:
    """``A`` to ``Z``, then ``A1``."""
    letter, turn = string.ascii_uppercase[index % 26], index // 26
    return f"{letter}{turn or ''}"


def _row(name: str, group: Sequence[RunData], target: float | None) -> Row:
    scores = [run.score for run in group if math.isfinite(run.score)]
    low, high = interval(scores)
    wanted = group[0].target if target is None else target
    steps = [math.inf if wanted is None else run.steps_to(wanted) for run in group]
    iqm = float(interquartile_mean(scores)) if scores else math.nan
    reached = sum(map(math.isfinite, steps))
    # the lower of the middle two would claim too much
    median = sorted(steps)[len(steps) // 2]
    return Row(name, group[0].algorithm, group[0].env, len(group), iqm, low, high, wanted, reached, median)


def cells(row: Row) -> tuple[str, ...]:
    """A row for people, below :data:`HEAD`."""
    return (
        row.group,
        row.algorithm,
        row.env,
        str(row.runs),
        figure(row.iqm),
        f"{figure(row.low)} to {figure(row.high)}" if math.isfinite(row.low) else "-",
        "-" if row.target is None else f"{row.target:g}",
        "-" if row.target is None else f"{row.reached}/{row.runs}",
        f"{row.steps_to_target:,.0f}" if math.isfinite(row.steps_to_target) else "-",
    )


def differences(rows: Sequence[Row], groups: Sequence[Sequence[RunData]]) -> list[tuple[str, ...]]:
    """What differs between groups, for people, below a head; empty where nothing does."""
    from rlkit_tools.compare.folder import differing

    different = differing([group[0] for group in groups])
    table = [(name, *map(_short, values)) for name, values in different.items()]
    return [("DIFFERS", *(row.group for row in rows)), *table] if table else []


def as_text(rows: Sequence[Row], groups: Sequence[Sequence[RunData]]) -> Iterator[str]:
    """The comparison for people, a line each."""
    yield from _table([HEAD, *map(cells, rows)])
    different = differences(rows, groups)
    if different:
        yield ""
        yield from _table(different)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write a line for each group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [one.name for one in Row.__attrs_attrs__])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def curve_of(curves: Sequence[Curve]) -> tuple[Any, Any, Any, Any]:
    """Steps, and the interquartile mean of curves there with its interval, as far as all of them go.

    Args:
        curves: at least one, none of them empty.

    Returns:
        Steps, mean, low and high, each ``(N,)`` of float64; one curve has its own points, and no interval.
    """
    if len(curves) == 1:
        steps, values = np.array(curves[0]).T
        return steps, values, *[np.full(len(steps), math.nan)] * 2
    steps = np.linspace(max(one[0][0] for one in curves), min(one[-1][0] for one in curves), _POINTS)
    values = np.stack([np.interp(steps, [x for x, _ in one], [y for _, y in one]) for one in curves], -1)
    bounds = np.array([interval(row) for row in values])
    return steps, interquartile_mean(values), bounds[:, 0], bounds[:, 1]


def draw(groups: Sequence[Sequence[RunData]], path: Path) -> None:
    """Draw the curves of groups into a picture.

    Raises:
        ConfigError: matplotlib is not installed, or no run has a return yet.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("pictures need matplotlib: pip install 'rlkit-tools[plots]'") from error
    if not any(run.evaluation or run.training for group in groups for run in group):
        raise ConfigError(f"{path} is not drawn: no run has a return yet; ask again after its first results")
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index, group in enumerate(groups):
        curves = [curve for curve in (run.evaluation or run.training for run in group) if curve]
        if not curves:
            continue
        steps, middle, low, high = curve_of(curves)
        axes.plot(steps, middle, label=f"{name_of(index)}: {group[0].algorithm}, {len(group)} runs")
        axes.fill_between(steps, low, high, alpha=0.2)
    axes.set(xlabel="environment steps", ylabel="mean return, interquartile mean over runs")
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def figure(value: float) -> str:
    """Four digits, or a dash."""
    return f"{value:.4g}" if math.isfinite(value) else "-"


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def steps_as_text(row: Row) -> str:
    """Steps to the target, and how many runs had it."""
    return f"{cells(row)[-1]} ({row.reached}/{row.runs})"


folder_type = click.Path(exists=True, file_okay=False, path_type=Path)
runs_argument = click.argument("runs", nargs=-1, required=True, type=folder_type)
target_option = click.option("--target", type=float, help="Return whose steps are counted.  [default: the runs' own]")


@click.command()
@runs_argument
@target_option
@click.option("--csv", "csv_file", type=OutputFile(), help="Write the table as CSV.")
@click.option("--png", type=OutputFile(".png"), help="Draw the curves.")
def compare(runs: tuple[Path, ...], target: float | None, csv_file: Path | None, png: Path | None) -> None:
    """Compare runs: how well each kind did, how certain that is, and in what they differ.

    RUNS are run folders, or folders of them. Those that differ in their seed alone are a group, whose returns at the
    end (of the final evaluation, or else the last there is) give an interquartile mean with a 95 % bootstrap interval.
    The steps to the target are the median over a group's runs.

    \b
    Examples:
      rlkit compare runs
      rlkit compare runs/one runs/other --csv table.csv --png curves.png
    """
    from rlkit_tools.compare.folder import groups_of, read_runs

    groups = groups_of(read_runs(runs))
    rows = compare_groups(groups, target)
    for line in as_text(rows, groups):
        click.echo(line)
    if csv_file is not None:
        write_csv(rows, csv_file)
    if png is not None:
        draw(groups, png)
