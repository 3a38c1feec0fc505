"""What a run shows while it goes on: a live line on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING

from attrs import field, frozen

from rlkit_core.run.output import unfailing

PLAIN_INTERVAL_S = 2.0
"""Plain lines are at least this far apart."""

ROOM_FOR_BAR = 104
"""Columns of a terminal from which on a bar fits beside the figures."""

if TYPE_CHECKING:
    from rich.console import Console


@frozen
class ProgressRow:
    """Where a run stands after an iteration.

    Attributes:
        iteration: iterations so far.
        steps: env steps so far.
        steps_per_s: env steps per second since training began, evaluation left out.
        return_mean: mean return of training episodes; NaN before the first has ended.
        evaluation: mean return of the latest evaluation; NaN before the first.
        loss: total loss; NaN if there is none.
        seconds: since the run began.
        success: share of training episodes that were successes; NaN where the env does not say.
        returns: mean returns of single agents or modules, by id; empty where there is one, or too many to show.
    """

    iteration: int
    steps: int
    steps_per_s: float
    return_mean: float
    evaluation: float
    loss: float
    seconds: float
    success: float = math.nan
    returns: Mapping[str, float] = field(factory=dict)

    def text(self) -> str:
        """One line for people."""
        each = ", ".join(f"{name} {_number(value, '.1f')}" for name, value in self.returns.items())
        training = f"return {_number(self.return_mean, '.1f')}" + (f" ({each})" if each else "")
        success = "" if math.isnan(self.success) else f" | success {self.success:.0%}"
        returns = f"{training}{success} | eval {_number(self.evaluation, '.1f')}"
        pace = f"{self.steps:,} steps | {self.steps_per_s:,.0f} steps/s"
        return f"{returns} | {pace} | loss {_number(self.loss, '.3g')} | {clock(self.seconds)}"


class Progress:
    """What shows a run. This one shows nothing; its subclasses do."""

    def line(self, text: str) -> None:
        """Say something that stays."""

    def update(self, row: ProgressRow) -> None:
        """Show where the run stands."""

    def close(self) -> None:
        """End the live part; :meth:`line` still works."""


class PlainProgress(Progress):
    """Plain lines without control codes: the first iteration, then one every few seconds, and the last.

    Args:
        stream: where to write; standard output unless given.
        interval_s: least distance between two lines.

    A stream that takes nothing any more ends the lines, not the run.
    """

    def __init__(self, stream: IO[str] | None = None, interval_s: float = PLAIN_INTERVAL_S) -> None:
        self._stream = unfailing(stream if stream is not None else sys.stdout)
        self._interval_s = interval_s
        self._next = 0.0
        self._unseen: ProgressRow | None = None

    def line(self, text: str) -> None:
        """Write a line."""
        print(text, file=self._stream, flush=True)

    def update(self, row: ProgressRow) -> None:
        """Write a line, if the last one is long enough ago."""
        now = time.monotonic()
        if now < self._next:
            self._unseen = row
            return
        self._next = now + self._interval_s
        self._unseen = None
        self.line(f"iteration {row.iteration}: {row.text()}")

    def close(self) -> None:
        """Write the last row, if it was held back."""
        if self._unseen is not None:
            self.line(f"iteration {self._unseen.iteration}: {self._unseen.text()}")
            self._unseen = None


class RichProgress(Progress):
    """One live line with a bar, on a terminal.

    Args:
        total_steps: env steps at which the run ends at the latest; None shows a bar without an end.
        console: a ``rich.console.Console``; one on standard output unless given.
    """

    def __init__(self, total_steps: int | None = None, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        self._console = console if console is not None else Console(file=unfailing(sys.stdout), highlight=False)
        text = TextColumn("{task.description}")
        columns = (BarColumn(bar_width=20), text) if self._console.width >= ROOM_FOR_BAR else (text,)
        self._bars = Bars(*columns, console=self._console, transient=True)
        self._task = self._bars.add_task("starting", total=total_steps)
        self._bars.start()

    def line(self, text: str) -> None:
        """Print above the live line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def update(self, row: ProgressRow) -> None:
        """Renew the live line."""
        self._bars.update(self._task, completed=row.steps, description=row.text())

    def close(self) -> None:
        """Remove the live line."""
        self._bars.stop()


def make_progress(*, quiet: bool = False, total_steps: int | None = None) -> Progress:
    """The fitting kind: nothing when quiet, the live line on a terminal that can show it, plain lines elsewhere."""
    if quiet or sys.stdout is None:
        return Progress()
    return RichProgress(total_steps) if is_live() else PlainProgress()


def is_live() -> bool:
    """Whether standard output is a terminal that can show what changes."""
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def clock(seconds: float) -> str:
    """``75`` as ``1:15``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
