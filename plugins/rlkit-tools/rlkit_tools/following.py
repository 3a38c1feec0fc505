"""What another process trains, while it does: read from its run folder, and shown."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from rlkit_core.algorithm import results as of
from rlkit_core.checkpoint.locate import read_index
from rlkit_core.run.lock import LOCK_FILE
from rlkit_core.run.progress import Progress, ProgressRow
from rlkit_core.run.run_folder import RESULTS
from rlkit_tools.compare.folder import read_json

POLL_S = 0.5


class Lines(Progress):
    """A line for each iteration; one that nobody reads raises."""

    def line(self, text: str) -> None:
        """Write it."""
        click.echo(text)

    def update(self, row: ProgressRow) -> None:
        """Write where the run stands."""
        self.line(f"iteration {row.iteration}: {row.text()}")


def follow(run: Path, progress: Progress, *, poll_s: float = POLL_S) -> None:
    """Show the newest result and those to come, until the run has ended."""
    offset, evaluation = 0, math.nan
    while True:
        running = is_running(run)  # before its results are read: what it wrote last is among them
        results, offset, again = _read(run / RESULTS, offset)
        kept = read_index(run).checkpoints if results else ()
        newest, rows = kept[-1].path if kept else "", []
        for result in results:
            rows.append(_row(result, evaluation, newest))
            evaluation = rows[-1].evaluation
        for row in rows[-1:] if again else rows:
            progress.update(row)
        if not running:
            return
        time.sleep(poll_s)


def is_running(run: Path) -> bool:
    """Whether a process trains in a run folder, by what its lock says: one of this machine has to be alive."""
    about = read_json(run / LOCK_FILE)
    if not about or about.get("host") != socket.gethostname():
        return bool(about)
    try:
        os.kill(int(about["pid"]), 0)
    except PermissionError:
        return True
    except (OSError, KeyError, ValueError):
        return False
    return True


def _read(path: Path, offset: int) -> tuple[list[dict[str, Any]], int, bool]:
    """Whole lines from an offset on, the offset of the next, and whether they begin with the first."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < offset:  # cut back by a run that goes on
                offset = 0
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], 0, True
    whole = data[: data.rfind(b"\n") + 1]
    return list(_parsed(whole)), offset + len(whole), offset == 0


def _parsed(lines: bytes) -> Iterator[dict[str, Any]]:
    for line in lines.splitlines():
        try:
            yield dict(json.loads(line))
        except (ValueError, TypeError):
            continue


def _row(result: Mapping[str, Any], evaluation: float, checkpoint: str) -> ProgressRow:
    latest = of.evaluation_return_mean(result)
    seconds = of.look_up(result, "timers", "iteration_total")
    steps = of.look_up(result, "env_runners", "num_env_steps_sampled")
    return ProgressRow(
        iteration=int(result["training_iteration"]),
        steps=int(result["num_env_steps_sampled_lifetime"]),
        steps_per_s=steps / of.look_up(result, "timers", "iteration"),
        return_mean=of.return_mean(result),
        evaluation=evaluation if math.isnan(latest) else latest,
        loss=of.total_loss(result),
        seconds=0.0 if math.isnan(seconds) else seconds,
        success=of.success_rate(result),
        returns=of.returns_of_each(result),
        phases=of.phase_seconds(result),
        checkpoint=checkpoint.rpartition("/")[2],
    )
