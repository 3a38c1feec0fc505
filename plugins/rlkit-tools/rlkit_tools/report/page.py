"""Runs as one page of HTML that needs nothing else: no script, no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources

import numpy as np

from rlkit_core.run.progress import clock
from rlkit_tools.compare.comparison import (
    HEAD,
    Row,
    cells,
    compare_groups,
    curve_of,
    differences,
    figure,
    steps_as_text,
)
from rlkit_tools.compare.folder import Curve, RunData
from rlkit_tools.report.chart import Series, chart

Groups = Sequence[Sequence[RunData]]
LEVELS = 4
OF_THE_MACHINE = ("platform", "python", "torch", "gymnasium", "numpy", "rlkit-core")


def page(groups: Groups, target: float | None = None) -> str:
    """The page; ``target`` takes the place of the runs' own."""
    rows = compare_groups(groups, target)
    title = " and ".join(dict.fromkeys(f"{row.algorithm} on {row.env}" for row in rows))
    style = resources.files("rlkit_tools.report").joinpath("style.css").read_text(encoding="utf-8")
    body = "\n".join(_body(title, rows, groups))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{escape(title)}</title>\n<style>\n{style}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{body}\n</main></body></html>\n'


def _body(title: str, rows: Sequence[Row], groups: Groups) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    yield _table([HEAD, *map(cells, rows)])
    yield '<p class="note">IQM: the interquartile mean of returns at the end, with its bootstrap interval.</p>'
    for env in dict.fromkeys(row.env for row in rows):
        yield from _of_env(env, rows, groups)
    different = differences(rows, groups)
    if different:
        yield "<h2>What differs</h2>"
        yield _table(different)
    yield "<h2>Runs</h2>"
    yield _table(_runs(rows, groups))
    yield "<h2>Environment and versions</h2>"
    yield _table(_versions([run for group in groups for run in group]))


def _of_env(env: str, rows: Sequence[Row], groups: Groups) -> Iterator[str]:
    own = [(row, group) for row, group in zip(rows, groups, strict=True) if row.env == env]
    targets = {row.target for row, _ in own}
    target = targets.pop() if len(targets) == 1 else None
    for label, curves in (("evaluation", "evaluation"), ("training episodes", "training")):
        series = list(_series(own, curves))
        if series:
            yield f"<h2>{escape(env)}: mean return in {label}</h2>"
            yield chart(series, f"mean return in {label}", target)
    points = [value for _, group in own for run in group for _, value in run.evaluation or run.training]
    if points:
        top = max(points) if target is None else target
        levels = np.linspace(min(points), top, LEVELS + 1)[1:]
        at = [compare_groups([group for _, group in own], float(level)) for level in levels]
        head = ("STEPS TO", *(f"{row.group}: median, runs that had it" for row, _ in own))
        yield f"<h2>{escape(env)}: steps to a level</h2>"
        yield _table(
            [head, *((f"{level:.4g}", *map(steps_as_text, row)) for level, row in zip(levels, at, strict=True))]
        )


def _series(own: Sequence[tuple[Row, Sequence[RunData]]], which: str) -> Iterator[Series]:
    for number, (row, group) in enumerate(own):
        curves: list[Curve] = [curve for curve in (getattr(run, which) for run in group) if curve]
        if curves:
            runs = "1 run" if len(curves) == 1 else f"{len(curves)} runs"
            yield Series(f"{row.group}: {row.algorithm}, {runs}", number, *curve_of(curves))


def _runs(rows: Sequence[Row], groups: Groups) -> Iterator[Sequence[str]]:
    yield ("GROUP", "RUN", "SEED", "RETURN", "STEPS", "TIME", "STEPS/S", "ENDED")
    for row, group in zip(rows, groups, strict=True):
        for run in group:
            end = run.summary
            yield (
                row.group,
                str(run.path),
                str(run.settings.get("seed")),
                figure(run.score),
                f"{end.get('steps') or (run.training or [(0, 0)])[-1][0]:,.0f}",
                clock(end["seconds"]) if "seconds" in end else "-",
                f"{end['steps_per_s']:,.0f}" if "steps_per_s" in end else "-",
                str(end.get("detail", "not ended")),
            )


def _versions(runs: Sequence[RunData]) -> Iterator[Sequence[str]]:
    """A column for each kind of surroundings that runs had."""
    found: dict[str, tuple[dict[str, str], list[str]]] = {}
    for run in runs:
        about = {name: str(run.versions[name]) for name in OF_THE_MACHINE if name in run.versions}
        about |= {name: str(value) for name, value in (run.versions.get("plugins") or {}).items()}
        about["env"] = run.env
        found.setdefault(repr(about), (about, []))[1].append(run.path.name)
    yield ("", *(", ".join(names) if len(found) > 1 else "all runs" for _, names in found.values()))
    for name in dict.fromkeys(name for about, _ in found.values() for name in about):
        yield (name, *(about.get(name, "-") for about, _ in found.values()))


def _table(rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    lines = ["<div><table><tr>", *(f"<th>{escape(cell)}</th>" for cell in head), "</tr>"]
    for row in rest:
        lines += ["\n<tr>", *(f"<td>{escape(cell)}</td>" for cell in row), "</tr>"]
    return "".join([*lines, "</table></div>"])
