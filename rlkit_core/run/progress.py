"""What a run shows while it goes on: a panel on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from attrs import field, frozen

from rlkit_core.run.output import unfailing
from rlkit_core.run.stop import Stop

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_INTERVAL_S = 2.0
"""Plain lines are at least this far apart."""


TICKS_PER_S, LEAST_S = 1, 0.5
"""How often a panel's clock moves on; seconds from one iteration that it shows to the next."""

BAR, WIDEST = 40, 100
"""Columns of the bar, and of the panel at the most."""

_ITERATION, _EVALUATION = "iteration", "evaluation"

logger = logging.getLogger(__name__)


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
        phases: seconds of the whole run by phase; ``iteration`` has all of them but ``evaluation``.
        checkpoint: the name of the newest one; empty before the first.
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
    phases: Mapping[str, float] = field(factory=dict)
    checkpoint: str = ""

    def shares(self) -> dict[str, float]:
        """The part of the time that each phase takes, the longest first, and what is left as ``other``."""
        whole = self.phases.get(_ITERATION, 0.0) + self.phases.get(_EVALUATION, 0.0)
        parts = {name: seconds for name, seconds in self.phases.items() if name != _ITERATION}
        if whole <= 0:
            return {}
        parts = dict(sorted(parts.items(), key=lambda part: -part[1]))
        return {name: seconds / whole for name, seconds in parts.items()} | {
            "other": max(0.0, 1.0 - sum(parts.values()) / whole)
        }

    def text(self) -> str:
        """One line for people."""
        each = ", ".join(f"{name} {number(value, '.1f')}" for name, value in self.returns.items())
        training = f"return {number(self.return_mean, '.1f')}" + (f" ({each})" if each else "")
        success = "" if math.isnan(self.success) else f" | success {self.success:.0%}"
        returns = f"{training}{success} | eval {number(self.evaluation, '.1f')}"
        pace = f"{self.steps:,} steps | {self.steps_per_s:,.0f} steps/s"
        return f"{returns} | {pace} | loss {number(self.loss, '.3g')} | {clock(self.seconds)}"


class Progress:
    """What shows a run. This one shows nothing; its subclasses do."""

    def line(self, text: str) -> None:
        """Say something that stays."""

    def update(self, row: ProgressRow) -> None:
        """Show where the run stands."""

    def doing(self, text: str) -> None:
        """Show what goes on beside training, from now on."""

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


class LivePanel(Progress):
    """A panel at the bottom of a terminal. It goes when the run ends; what :meth:`line` says stays.

    Trouble with the terminal ends the panel, not the run.

    Args:
        stop: when the run ends; its limits make the bar and the time that is left.
        title: of the panel.
        until: when it ends, in words.
        console: of rich; one on standard output unless given.
    """

    def __init__(
        self, stop: Stop | None = None, title: str = "", until: str = "", console: Console | None = None
    ) -> None:
        from rich.console import Console
        from rich.live import Live

        self._stop, self._title, self._until = stop or Stop(), title, until
        self._console = console if console is not None else Console(file=unfailing(sys.stdout), highlight=False)
        self._began = time.monotonic()
        self._row: ProgressRow | None = None
        self._row_at = self._shown_at = self._began
        self._first: tuple[float, float] | None = None  # share that is done and time, of the first row
        self._checkpoint: tuple[str, float] | None = None
        self._live = Live(
            console=self._console, refresh_per_second=TICKS_PER_S, transient=True, get_renderable=self._panel
        )
        self._is_broken, self._doing = False, ""
        self._try(self._live.start)

    def line(self, text: str) -> None:
        """Print above the panel."""
        self._try(self._console.print, text, markup=False, highlight=False, soft_wrap=True)

    def update(self, row: ProgressRow) -> None:
        """Show where the run stands, unless it was shown just now."""
        self._row, self._row_at = row, time.monotonic()
        if self._first is None:
            self._first = self._done(row) or 0.0, self._row_at
        if row.checkpoint and (self._checkpoint is None or self._checkpoint[0] != row.checkpoint):
            self._checkpoint = row.checkpoint, self._row_at
        if self._row_at - self._shown_at >= LEAST_S:
            self._shown_at = self._row_at
            self._try(self._live.refresh)

    def doing(self, text: str) -> None:
        """Show it in the last line."""
        self._doing = text
        self._try(self._live.refresh)

    def close(self) -> None:
        """Remove the panel."""
        self._try(self._live.stop)

    def _try(self, show: Callable[..., object], *args: object, **kwargs: object) -> None:
        if self._is_broken:
            return
        try:
            show(*args, **kwargs)
        except Exception as error:
            self._is_broken = True
            logger.warning("the terminal shows nothing more (%s: %s); the run goes on", type(error).__name__, error)
            with suppress(Exception):
                self._live.stop()

    # What it shows

    def _done(self, row: ProgressRow) -> float | None:
        """The share of the nearest limit that is done; None where there is no limit."""
        seen = (row.steps, row.iteration, self._seconds(row))
        shares = [min(1.0, have / most) for have, most in zip(seen, self._stop.limits, strict=True) if most is not None]
        return max(shares, default=None)

    def _seconds(self, row: ProgressRow) -> float:
        return row.seconds + time.monotonic() - self._row_at

    def _left(self, done: float) -> float | None:
        """Seconds until the nearest limit, at the pace since the first row."""
        first, at = self._first or (0.0, 0.0)
        return (1.0 - done) * (self._row_at - at) / (done - first) if done > first else None

    def _panel(self) -> RenderableType:
        from rich.panel import Panel
        from rich.text import Text

        row = self._row
        if row is None:
            lines = [f"starting, {clock(time.monotonic() - self._began)}"]
        else:
            lines = [text for text in self._lines(row) if text]
        body = Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
        body.highlight_regex(r"━+", "cyan")
        body.highlight_regex(r"[─╌]+", "dim")
        width = min(WIDEST, self._console.width)
        title, until = Text(self._title, overflow="ellipsis"), Text(self._until, overflow="ellipsis")
        return Panel(body, title=title, subtitle=until, title_align="left", subtitle_align="left", width=width)

    def _lines(self, row: ProgressRow) -> list[str]:
        steps = f"{row.steps:,} steps" if self._stop.steps is None else f"{row.steps:,} of {self._stop.steps:,} steps"
        each = ", ".join(f"{name} {number(value, '.1f')}" for name, value in row.returns.items())
        ago = "" if self._checkpoint is None else clock(time.monotonic() - self._checkpoint[1])
        return [
            self._bar(row),
            "   ".join(
                [
                    f"return {number(row.return_mean, '.1f')}",
                    f"evaluation {number(row.evaluation, '.1f')}",
                    *([] if math.isnan(row.success) else [f"success {row.success:.0%}"]),
                    f"loss {number(row.loss, '.3g')}",
                ]
            ),
            each,
            f"{steps}   iteration {row.iteration:,}   {row.steps_per_s:,.0f} steps/s",
            "   ".join(f"{name.replace('_', ' ')} {share:.0%}" for name, share in row.shares().items()),
            f"checkpoint {self._checkpoint[0]}, {ago} ago" if self._checkpoint is not None else "no checkpoint yet",
            self._doing,
        ]

    def _bar(self, row: ProgressRow) -> str:
        done, spent = self._done(row), clock(self._seconds(row))
        if done is None:
            return spent
        left = self._left(done)
        filled = round(done * BAR)
        at_most = "" if left is None else f", at most {clock(left)} left"
        return f"{'━' * filled}{'─' * (BAR - filled)} {done:.0%}   {spent}{at_most}"


def make_progress(*, quiet: bool = False, stop: Stop | None = None, title: str = "", until: str = "") -> Progress:
    """The fitting kind: nothing when quiet, the panel on a terminal that can show it, plain lines elsewhere.

    Args:
        quiet: show nothing.
        stop, title, until: see :class:`LivePanel`.
    """
    if quiet or sys.stdout is None:
        return Progress()
    return LivePanel(stop, title, until) if is_live() else PlainProgress()


def is_live() -> bool:
    """Whether standard output is a terminal that can show what changes."""
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def clock(seconds: float) -> str:
    """``75`` as ``1:15``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def number(value: float, form: str) -> str:
    """A number in a form of ``format``; ``-`` for NaN."""
    return "-" if math.isnan(value) else format(value, form)
