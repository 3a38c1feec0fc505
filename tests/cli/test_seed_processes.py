"""Several processes at once: how many, what becomes of the others when one fails, and signals, with real small ones."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from rlkit_core.cli.seeds import processes as module
from rlkit_core.cli.seeds.processes import Process, run_all

ENDS_BY_SIGNAL = """
import pathlib, signal, sys, time
def end(number, frame):
    pathlib.Path("saved-" + sys.argv[1]).touch()
    sys.exit(128 + number)
signal.signal(signal.SIGINT, end)
pathlib.Path("ready-" + sys.argv[1]).touch()
print("iteration 1: of", sys.argv[1], flush=True)
time.sleep(120)
"""
IGNORES_SIGNALS = ENDS_BY_SIGNAL.replace("sys.exit(128 + number)", "pass").replace(
    "time.sleep(120)", "while True: time.sleep(1)"
)
COUNTS = """
import os, pathlib, sys, time
mine = pathlib.Path("running-" + sys.argv[1])
mine.touch()
time.sleep(0.3)
print("result      seen", len(list(pathlib.Path().glob("running-*"))), flush=True)
mine.unlink()
sys.exit(3 if sys.argv[1] == "2" else 0)
"""


def made(folder: Path, script: str, count: int) -> list[Process]:
    (folder / "script.py").write_text(script)
    command = (sys.executable, "script.py")
    return [Process(seed, (*command, str(seed)), folder / f"{seed}.log") for seed in range(1, count + 1)]


def when_ready(folder: Path, count: int, *numbers: int) -> threading.Thread:
    """Send signals to this process, one by one, once so many of the processes are ready."""

    def send() -> None:
        while len(list(folder.glob("ready-*"))) < count:
            time.sleep(0.02)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.5)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


def test_as_many_as_may_run_at_a_time_and_one_that_fails_ends_no_other(tmp_path: Path) -> None:
    all_of_them, said = made(tmp_path, COUNTS, 5), list[str]()
    assert run_all(all_of_them, folder=tmp_path, jobs=2, say=said.append) is None
    assert [one.code for one in all_of_them] == [0, 3, 0, 0, 0]
    seen = [int(one.last_line("^result").split()[-1]) for one in all_of_them]
    assert max(seen) == 2
    assert said[:2] == ["seed 1 begins", "seed 2 begins"]
    (failed,) = [text for text in said if text.startswith("seed 2 failed: result")]
    assert failed.endswith(f"(all it said is in {tmp_path / '2.log'})")
    assert sum("has ended: seen" in text for text in said) == 4


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_signal_is_passed_on_to_all_that_run(tmp_path: Path, jobs: int) -> None:
    both, said, shown = made(tmp_path, ENDS_BY_SIGNAL, 2), list[str](), list[dict[int, str]]()
    sender = when_ready(tmp_path, jobs, signal.SIGINT)
    number = run_all(both, folder=tmp_path, jobs=jobs, say=said.append, show=lambda lines: shown.append(dict(lines)))
    sender.join()
    assert number == signal.SIGINT
    assert [one.code for one in both] == [130, 130 if jobs == 2 else None]  # the second did not begin
    assert {path.name for path in tmp_path.glob("saved-*")} == {f"saved-{seed}" for seed in range(1, jobs + 1)}
    assert "seed 1 was ended by SIGINT" in said
    assert any(lines.get(1) == "iteration 1: of 1" for lines in shown)


def test_a_second_signal_kills_what_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE_S", 0.2)
    both = made(tmp_path, IGNORES_SIGNALS, 2)
    sender = when_ready(tmp_path, 2, signal.SIGINT, signal.SIGINT)
    assert run_all(both, folder=tmp_path, jobs=2, say=lambda text: None) == signal.SIGINT
    sender.join()
    assert [one.code for one in both] == [-signal.SIGKILL] * 2
    assert all(one.running is None for one in both)
