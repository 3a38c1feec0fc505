"""What the runs of several seeds have reached: a row each, and the mean over them with an interval."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from rlkit_core.checkpoint import files
from rlkit_core.errors import CheckpointError
from rlkit_core.run.progress import clock
from rlkit_core.run.run_folder import SUMMARY

# fmt: off
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
      2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)
# fmt: on
"""97.5 % quantiles of Student's t distribution, for 1 to 30 degrees of freedom."""


@frozen
class Reached:
    """What the run of one seed has reached; None and "" where it has not come that far."""

    seed: int
    folder: Path
    state: str
    return_mean: float | None = None
    steps: int | None = None
    seconds: float | None = None


def reached(seed: int, folder: Path, code: int | None) -> Reached:
    """Read a run's summary.

    Args:
        seed: of the run.
        folder: the run folder.
        code: exit code of its process; None where that never began.
    """
    try:
        found: Any = json.loads(files.read_bytes(folder / SUMMARY, files.METADATA_LIMIT))
        mean = found["evaluation_return_mean"]
        value = None if mean is None else float(mean)
        state = "failed" if _failed(code) else str(found["reason"])
        return Reached(seed, folder, state, value, int(found["steps"]), float(found["seconds"]))
    except (CheckpointError, ValueError, KeyError, TypeError):
        return Reached(seed, folder, "not begun" if code is None else "failed" if _failed(code) else "interrupted")


def _failed(code: int | None) -> bool:
    return code is not None and 0 < code <= 128


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % interval by Student's t distribution; NaN for these where there is one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan, math.nan
    t = _T[len(values) - 2] if len(values) - 2 < len(_T) else 1.96 + 2.4 / (len(values) - 1)
    half = t * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def lines(rows: Iterable[Reached]) -> list[str]:
    """A table for people: head, a row a seed, and the mean."""
    rows = list(rows)
    cells = [("seed", "state", "return", "steps", "time", "run folder")]
    for row in rows:
        value = "-" if row.return_mean is None else f"{row.return_mean:.1f}"
        steps, seconds = ("-" if number is None else text for number, text in _figures(row))
        cells.append((str(row.seed), row.state, value, steps, seconds, str(row.folder)))
    widths = [max(len(line[k]) for line in cells) for k in range(5)]
    aligned = [" ".join((line[0].rjust(widths[0]), line[1].ljust(widths[1]))) for line in cells]
    table = [
        "  ".join((head, *(line[k].rjust(widths[k]) for k in (2, 3, 4)), line[5]))
        for head, line in zip(aligned, cells, strict=True)
    ]
    values = [row.return_mean for row in rows if row.return_mean is not None]
    if not values:
        return [*table, "no seed was evaluated"]
    mean, low, high = interval(values)
    of = f"mean return over {len(values)} of {len(rows)} seeds" if len(values) < len(rows) else "mean return"
    spread = "" if math.isnan(low) else f", 95 % interval {low:.1f} to {high:.1f}"
    return [*table, f"{of}: {mean:.1f}{spread}"]


def _figures(row: Reached) -> Iterable[tuple[float | None, str]]:
    yield row.steps, f"{row.steps:,}" if row.steps is not None else ""
    yield row.seconds, clock(row.seconds) if row.seconds is not None else ""
