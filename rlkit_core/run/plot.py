"""The learning curve of a run as a picture, drawn from its ``progress.csv``."""

from __future__ import annotations

import csv
import math
from pathlib import Path

STEPS = "num_env_steps_sampled_lifetime"
TRAINING = "env_runners/episode_return_mean"
EVALUATION = "evaluation/env_runners/episode_return_mean"


def read_curve(progress_csv: Path, column: str) -> tuple[list[float], list[float]]:
    """Env steps and values of one column, without the rows where it is empty or not finite."""
    with progress_csv.open(newline="", encoding="utf-8") as file:
        points = [(_number(row.get(STEPS)), _number(row.get(column))) for row in csv.DictReader(file)]
    points = [point for point in points if all(map(math.isfinite, point))]
    return [step for step, _ in points], [value for _, value in points]


def plot_learning_curve(progress_csv: Path, picture: Path, *, title: str, target: float | None = None) -> None:
    """Draw mean returns (training and evaluation) over env steps, and the return ``target``, into the PNG ``picture``.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(*read_curve(progress_csv, TRAINING), label="training episodes", color="tab:blue")
    evaluations = read_curve(progress_csv, EVALUATION)
    if evaluations[0]:
        axes.plot(*evaluations, label="evaluation, deterministic", color="tab:orange", marker="o", markersize=3)
    if target is not None:
        axes.axhline(target, color="gray", linestyle="--", linewidth=1, label=f"target {target:g}")
    axes.set(title=title, xlabel="environment steps", ylabel="mean episode return")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(picture, dpi=120)


def _number(text: str | None) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan
