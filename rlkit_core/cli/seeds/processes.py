"""Several commands at once, each a process with a log file: one that fails ends no other, a signal ends all in time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import define, field

from rlkit_core.run.signals import Interrupted, Signals

POLL_S, TELL_S = 0.1, 10.0
GRACE_S = 60.0
"""Seconds that the processes have after a signal; each of them ends its iteration in 20."""
_AT_ONCE_S = 15.0
_TAIL = 8192


@define
class Process:
    """One of the commands.

    Attributes:
        seed: of its run.
        command: program and arguments.
        log: what it writes goes to the end of this file.
        code: its exit code; None before it has ended, or where it never began.
    """

    seed: int
    command: Sequence[str]
    log: Path
    code: int | None = None
    running: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self, folder: Path, threads: int) -> None:
        """Start it in a folder, in a session of its own, so that a terminal's Ctrl-C reaches it through its parent."""
        env = {"OMP_NUM_THREADS": str(threads), **os.environ}
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                self.command,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def has_ended(self) -> bool:
        """Whether it has just ended; its code is known then."""
        if self.running is None or self.running.poll() is None:
            return False
        self.code, self.running = self.running.returncode, None
        return True

    def send(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self.running is not None:
            with suppress(ProcessLookupError):
                self.running.send_signal(number)

    def last_line(self, pattern: str = r"\S") -> str:
        """The last line of its log in which a pattern is found; empty where there is none."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if re.search(pattern, line)), "")


def run_all(
    processes: Sequence[Process],
    *,
    folder: Path,
    jobs: int,
    say: Callable[[str], object],
    show: Callable[[Mapping[int, str]], object] = lambda lines: None,
) -> int | None:
    """Run the commands, so many at a time, and wait for all.

    Args:
        processes: in the order in which they begin.
        folder: where they run.
        jobs: how many at a time. Each may have its share of the cores for torch's threads, unless ``OMP_NUM_THREADS``
            says more.
        say: is told what begins, ends and fails.
        show: is given every tenth of a second how far those are that run, by seed.

    Returns:
        The signal that ended it, which each process has been sent, or None.
    """
    threads = max(1, cores() // jobs)
    waiting, signals = list(processes), Signals(say, GRACE_S)
    try:
        with signals:
            told = False
            while waiting or any(one.running for one in processes):
                running = [one for one in processes if one.running is not None]
                if signals.number is not None and not told:
                    waiting, told = [], True
                    for one in running:
                        one.send(signals.number)
                elif waiting and len(running) < jobs:
                    one = waiting.pop(0)
                    one.start(folder, threads)
                    say(f"seed {one.seed} begins")
                    continue
                time.sleep(POLL_S)
                for one in running:
                    if one.has_ended():
                        say(f"seed {one.seed} {_ended(one)}")
                show({one.seed: one.last_line("^iteration ") for one in running if one.running is not None})
    except Interrupted:
        _end_at_once(processes, signals.number or signal.SIGINT)
    return signals.number


def _end_at_once(processes: Sequence[Process], number: int) -> None:
    """Send a second signal, and kill what does not end by that."""
    for one in processes:
        one.send(number)
    deadline = time.monotonic() + _AT_ONCE_S
    while any(one.running is not None and not one.has_ended() for one in processes):
        if time.monotonic() > deadline:
            for one in processes:
                one.send(signal.SIGKILL)
        time.sleep(POLL_S)


def _ended(one: Process) -> str:
    if one.code == 0:
        return f"has ended: {one.last_line('^result ').removeprefix('result').strip() or one.last_line()}"
    number = 0 if one.code is None else -one.code if one.code < 0 else one.code - 128
    if number in list(signal.Signals):
        return f"was ended by {signal.Signals(number).name}"
    return f"failed: {one.last_line('^[A-Za-z.]*Error') or one.last_line()} (all it said is in {one.log})"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
