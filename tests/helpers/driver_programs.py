"""Drivers as real programs, and a look at what they leave behind; for tests of any executor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

SHM = Path("/dev/shm")


def marked(mark: str) -> list[str]:
    """Command lines of processes, other than zombies, whose environment holds ``mark``."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def eventually(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Driver:
    """A program that uses executors, in a process of its own with a mark on it and on all its children."""

    eventually = staticmethod(eventually)

    def __init__(self, folder: Path) -> None:
        self.mark = f"mark-{uuid.uuid4().hex}"
        self._folder = folder
        self._shm = {path.name for path in SHM.glob("*")} if SHM.is_dir() else set()
        self._running: list[subprocess.Popen[str]] = []

    def start(self, source: str, *, stdin: bool = False, **env: str) -> subprocess.Popen[str]:
        source = textwrap.dedent(source)
        script = self._folder / "driver_script.py"
        script.write_text(source)
        process = subprocess.Popen(
            [sys.executable, "-" if stdin else str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._folder,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "RLKIT_TEST_MARK": self.mark, **env},
        )
        self._running.append(process)
        assert process.stdin is not None
        if stdin:
            process.stdin.write(source)
            process.stdin.close()
            process.stdin = None
        return process

    def run(self, source: str, *, code: int | None = 0, **how) -> str:
        process = self.start(source, **how)
        out, err = process.communicate(timeout=120)
        assert code is None or process.returncode == code, err
        self.left_nothing()
        return out + err

    def processes(self) -> list[str]:
        """Command lines of the driver, its workers, and what they have started."""
        return marked(self.mark)

    def left_nothing(self) -> None:
        """Nothing of the driver is in the process table or in shared memory any more."""
        assert eventually(lambda: not marked(self.mark)), marked(self.mark)
        if SHM.is_dir():
            assert eventually(lambda: {path.name for path in SHM.glob("*")} <= self._shm)

    def close(self) -> None:
        for process in self._running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
