"""The panel of a terminal: what it shows, how seldom it is drawn, and that trouble with the terminal ends no run."""

from __future__ import annotations

import io
import logging
import math
import re
from typing import Any

import pytest
from rich.console import Console

from rlkit_core.run import progress as module
from rlkit_core.run.progress import LEAST_S, LivePanel, ProgressRow
from rlkit_core.run.stop import Stop


class Clock:
    """Time that stands still until it is set."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def panel(stop: Stop, stream: Any = None, width: int = 90) -> LivePanel:
    console = Console(file=stream or io.StringIO(), force_terminal=True, width=width, height=30)
    return LivePanel(stop, "runs/one", "until 100 steps", console)


def row(iteration: int, **more: Any) -> ProgressRow:
    return ProgressRow(iteration, 10 * iteration, 1234.0, 9.75, math.nan, 0.125, 2.0 * iteration, **more)


def shown(live: LivePanel, width: int = 90) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(live._panel())
    return [line.strip("│╭╮╰╯─ ") for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_what_it_shows(clock: Clock) -> None:
    live = panel(Stop(return_mean=475, steps=100))
    clock.now += 65
    assert shown(live) == ["runs/one", "starting, 1:05", "until 100 steps"]
    live.update(row(1))
    clock.now += 20
    phases = {"sample": 6.0, "learner_update": 3.0, "iteration": 10.0, "evaluation": 2.0}
    live.update(row(3, phases=phases, checkpoint="000002", success=0.5, returns={"left": 1.0, "right": 2.5}))
    clock.now += 61
    lines = shown(live)
    assert lines[0] == "runs/one"
    assert re.fullmatch(r"━{12}─{28} 30%   1:07, at most 1:10 left", lines[1])  # 20 s for 20 %, 70 % are left
    assert lines[2:] == [
        "return 9.8   evaluation -   success 50%   loss 0.125",
        "left 1.0, right 2.5",
        "30 of 100 steps   iteration 3   1,234 steps/s",
        "sample 50%   learner update 25%   evaluation 17%   other 8%",
        "checkpoint 000002, 1:01 ago",
        "until 100 steps",
    ]
    live.doing("the last evaluation")
    assert shown(live)[-2] == "the last evaluation"
    live.doing("")
    assert all(len(line) <= 40 for line in shown(live, 40))  # a narrow terminal cuts lines, and breaks none
    assert len(shown(live, 40)) == len(lines)
    live.close()


@pytest.mark.parametrize(
    ("stop", "begins"),
    [
        (Stop(), "0:06"),
        (Stop(iterations=4), "━" * 30),
        (Stop(seconds=12), "━" * 20),
        (Stop(steps=3000, iterations=4), "━" * 30),  # the nearest of several
    ],
)
def test_the_bar_is_of_the_nearest_limit(clock: Clock, stop: Stop, begins: str) -> None:
    live = panel(stop)
    live.update(row(3))
    assert shown(live)[1].startswith(begins)
    live.close()


def test_iterations_are_not_drawn_faster_than_anyone_reads(clock: Clock) -> None:
    live, drawn = panel(Stop()), list[float]()
    live._live.refresh = lambda: drawn.append(clock.now)  # type: ignore[method-assign]
    for _ in range(10_000):
        clock.now += 0.001
        live.update(row(1))
    assert 10 / LEAST_S - 1 <= len(drawn) <= 10 / LEAST_S
    live.close()


@pytest.mark.parametrize("error", [OSError(5, "gone"), ValueError("closed"), RuntimeError("odd terminal")])
def test_a_terminal_that_breaks_ends_the_panel_alone(
    clock: Clock, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            if clock.now > 1000:
                raise error
            return super().write(text)

    live = panel(Stop(), Broken())
    clock.now += 1
    with caplog.at_level(logging.WARNING):
        live.update(row(1))
        live.update(row(2))
        live.line("a line")
        live.close()
    assert "the run goes on" in caplog.text


def test_lines_stay_above_it(clock: Clock) -> None:
    stream = io.StringIO()
    live = panel(Stop(), stream)
    live.line("a [bold] line")
    live.close()
    live.line("after it")
    assert "a [bold] line" in stream.getvalue()
    assert stream.getvalue().rstrip().endswith("after it")
