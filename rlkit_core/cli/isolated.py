"""``rlkit doctor --isolated``: each plugin in a process of its own, which may crash, end or hang as it likes.

The process writes what it is about to do, and what came of it, to a file; where the file stops is what ended it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import define, field

from rlkit_core.cli.examine import EXAMINED, Row, examine, row_of, unusable
from rlkit_core.plugins.discovery import CORE, FOUND, GROUP_PLUGINS, DistributionInfo, Snapshot, scan, top_level
from rlkit_core.plugins.host import PluginHost
from rlkit_core.plugins.states import FAILED

_POLL = 0.02  # seconds
_CHILD = (
    "import json, sys\n"
    "sys.path[:] = json.loads(sys.argv[1])\n"
    "from rlkit_core.cli.isolated import examine_here\n"
    "examine_here(*sys.argv[2:])\n"
)
_IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")  # microseconds of its own, and its name
_MARK = "[rlkit doctor] imports begin or end here"


def examine_each(snapshot: Snapshot, *, timeout: float, timed: bool) -> tuple[list[Row], list[dict[str, Any]]]:
    """Examine every distribution in a process: the rows of :func:`examine`, and what importing each took.

    Args:
        snapshot: what is installed.
        timeout: seconds that each has; then it is killed.
        timed: measure imports, one process after the other, so that none slows another down.

    Returns:
        The rows, and, slowest first, ``{"distribution", "version", "seconds", "slowest", "slowest_seconds"}``: the
        slowest is the other package whose import took most of it.
    """
    with tempfile.TemporaryDirectory(prefix="rlkit-doctor-") as folder:
        infos = [info for info in snapshot.distributions if any(e.state == FOUND for e in info.entry_points)]
        workers = [_Worker(info, Path(folder) / str(number), timeout, timed) for number, info in enumerate(infos)]
        _run(workers, at_once=1 if timed else min(4, os.cpu_count() or 1))
        rows = {id(worker.info): worker.rows() for worker in workers}
        times = sorted((w.time() for w in workers), key=lambda t: -t["seconds"]) if timed else []
    return [row for info in snapshot.distributions for row in (rows.get(id(info)) or unusable(info))], times


def examine_here(distribution: str, path: str) -> None:
    """In the process of one plugin: examine it, and write each step to a file."""
    allowed = {**os.environ, "RLKIT_PLUGINS": distribution, "RLKIT_PLUGINS_STRICT": ""}
    host = PluginHost(scan(env=allowed, refresh=True), allowed)
    importing = True
    if distribution != CORE:  # what the core imports is not the plugin's
        for entry in host.snapshot.entry_points(GROUP_PLUGINS):
            if entry.distribution == CORE:
                host.load_entry_point(entry)
    print(_MARK, file=sys.stderr, flush=True)
    with open(path, "a", encoding="utf-8", buffering=1) as file:

        def tell(number: int, doing: str, row: Row) -> None:
            nonlocal importing
            if importing and doing.endswith(EXAMINED):
                importing = False
                print(_MARK, file=sys.stderr, flush=True)
            file.write(json.dumps({"number": number, "doing": doing, "row": row}) + "\n")

        file.write(json.dumps({"rows": examine(host, only=distribution, tell=tell)}) + "\n")


@define
class _Worker:
    """The process of one plugin, and what it has written."""

    info: DistributionInfo
    file: Path
    timeout: float
    timed: bool
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    hung: bool = False
    said: Path = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.said = self.file.with_suffix(".said")

    def start(self) -> None:
        """Start the process, in a session of its own: what it starts is ended with it."""
        options = ["-X", "faulthandler", *(["-X", "importtime"] if self.timed else [])]
        arguments = [json.dumps(sys.path), self.info.name, str(self.file)]
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, *options, "-c", _CHILD, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        self.started = time.monotonic()

    def ended(self) -> bool:
        """Whether it has; one whose time is over is killed."""
        assert self.process is not None
        if self.process.poll() is None and time.monotonic() - self.started > self.timeout:
            self.hung = True
            self.kill()
        return self.process.poll() is not None

    def kill(self) -> None:
        """End it, and what it has started."""
        if self.process is None or self.process.poll() is not None:
            return
        if hasattr(os, "killpg"):
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()

    def rows(self) -> list[Row]:
        """What it found out; a last row says what ended it, if it did not come to an end by itself."""
        rows: dict[int, Row] = {}
        doing = ""
        for line in self._lines():
            if "rows" in line:
                return list(line["rows"])
            doing, number = line["doing"], line["number"]
            rows[number] = line["row"]
        assert self.process is not None
        row = rows[number] if doing else row_of(self.info, "distribution", self.info.name, "", FAILED)
        what = doing or "after it was examined" if rows else "before anything of it was imported"
        how = f"did not end within {self.timeout:g} seconds" if self.hung else _ending(self.process.returncode)
        output = [line for line in self._output() if line != _MARK and not _IMPORTED.match(line)]
        row |= {
            "state": FAILED,
            "reason": f"{how} {what}; what follows in it was not looked at",
            "remedy": f"update it (pip install -U {self.info.name}), or hide it with "
            f"RLKIT_PLUGINS_DISABLE={self.info.name}",
            "traceback": "\n".join(output) or None,
        }
        return [*rows.values(), *([] if doing else [row]), *unusable(self.info)]

    def time(self) -> dict[str, Any]:
        """What importing it took, the slowest package among that, and what that took."""
        seconds = sum(line["row"]["seconds"] or 0.0 for line in self._first_rows())
        name, slowest = _slowest(self._output(), {top_level(e.value) for e in self.info.entry_points})
        return {
            "distribution": self.info.name,
            "version": self.info.version,
            "seconds": round(seconds, 4),
            "slowest": name,
            "slowest_seconds": round(slowest, 4),
        }

    def _first_rows(self) -> Iterator[dict[str, Any]]:
        """What it wrote when each import had ended."""
        seen: set[int] = set()
        for line in self._lines():
            if "row" in line and not line["doing"] and line["number"] not in seen:
                seen.add(line["number"])
                yield line

    def _lines(self) -> Iterator[dict[str, Any]]:
        if self.file.exists():
            for text in self.file.read_text(encoding="utf-8").splitlines():
                yield json.loads(text)

    def _output(self) -> list[str]:
        return self.said.read_text(encoding="utf-8", errors="replace").splitlines()


def _run(workers: list[_Worker], *, at_once: int) -> None:
    """Run all, some at a time; whatever happens here, none stays."""
    waiting, running = list(workers), list[_Worker]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(waiting.pop(0))
                running[-1].start()
            time.sleep(_POLL)
            running = [worker for worker in running if not worker.ended()]
    finally:
        for worker in workers:
            worker.kill()


def _ending(code: int) -> str:
    if code < 0:
        with_name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
        return f"ended Python with exit code {code} ({with_name})"
    return f"ended Python with exit code {code}"


def _slowest(output: list[str], own: set[str]) -> tuple[str | None, float]:
    """The package, neither the plugin's own nor the core's, whose own modules took longest between the marks."""
    marks = [number for number, line in enumerate(output) if line == _MARK]
    found: dict[str, float] = {}
    for match in filter(None, map(_IMPORTED.match, output[slice(*marks[:2])] if marks else [])):
        package, seconds = top_level(match[2]), int(match[1]) / 1e6
        if package not in own and package != "rlkit_core":
            found[package] = found.get(package, 0.0) + seconds
    name = max(found, key=lambda package: found[package], default=None)
    return name, found[name] if name else 0.0
