"""The learning curve of a run as a picture, drawn from its ``progress.csv``."""

from __future__ import annotations

import csv
import math
from pathlib import Path

STEPS = "num_env_steps_sampled_lifetime"
TRAINING = "env_runners/episode_return_mean"
EVALUATION = "evaluation/env_runners/episode_return_mean"
SUCCESS = "env_runners/is_success_mean"
OF_EACH = ("env_runners/agent_episode_returns_mean/", "env_runners/module_episode_returns_mean/")
MOST_CURVES, FIRST_COLOUR = 6, 4
"""Agents or modules up to which each has a curve of its own, and a colour that no other curve has."""


def read_curve(progress_csv: Path, column: str) -> tuple[list[float], list[float]]:
    """Env steps and values of one column, without the rows where it is empty or not finite."""
    with progress_csv.open(newline="", encoding="utf-8") as file:
        points = [(_number(row.get(STEPS)), _number(row.get(column))) for row in csv.DictReader(file)]
    points = [point for point in points if all(map(math.isfinite, point))]
    return [step for step, _ in points], [value for _, value in points]


def curves_of_each(progress_csv: Path) -> dict[str, str]:
    """Columns of single agents or, where there are too many, of single modules: ``{id: column}``; perhaps none."""
    with progress_csv.open(newline="", encoding="utf-8") as file:
        columns = next(csv.reader(file), [])
    for prefix in OF_EACH:
        found = {name.removeprefix(prefix): name for name in columns if name.startswith(prefix)}
        if 1 < len(found) <= MOST_CURVES:
            return found
    return {}


def plot_learning_curve(progress_csv: Path, picture: Path, *, title: str, target: float | None = None) -> None:
    """Draw mean returns over env steps, and the return ``target``, into the PNG ``picture``.

    Returns are those of training, of its single agents or modules where they are few, and of evaluation; successes have
    an axis of their own.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(*read_curve(progress_csv, TRAINING), label="training episodes", color="tab:blue")
    for index, (name, column) in enumerate(curves_of_each(progress_csv).items()):
        axes.plot(*read_curve(progress_csv, column), label=name, linewidth=0.8, color=f"C{FIRST_COLOUR + index}")
    evaluations = read_curve(progress_csv, EVALUATION)
    if evaluations[0]:
        axes.plot(*evaluations, label="evaluation, deterministic", color="tab:orange", marker="o", markersize=3)
    if target is not None:
        axes.axhline(target, color="gray", linestyle="--", linewidth=1, label=f"target {target:g}")
    successes = read_curve(progress_csv, SUCCESS)
    if successes[0]:
        shares = axes.twinx()
        shares.plot(*successes, color="tab:green", linewidth=0.8, linestyle=":")
        shares.set(ylim=(-0.02, 1.02), ylabel="share of successes (dotted)")
    axes.set(title=title, xlabel="environment steps", ylabel="mean episode return")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(picture, dpi=120)


def _number(text: str | None) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan
