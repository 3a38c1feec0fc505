"""The result writers of a run: each hears every result. A full disk loses none, a failing writer is left out."""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from rlkit_core.algorithm.run_view import read_only
from rlkit_core.errors import PluginError
from rlkit_core.plugins.guard import safe_text
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.quarantine import learning_kept
from rlkit_core.run.writers import ResultWriter

if TYPE_CHECKING:
    from rlkit_core.algorithm import Algorithm
    from rlkit_core.plugins.records import Registered, Service

MOST_WAITING = 2000
"""Results that wait in memory for a writer whose place on disk takes none; the oldest go first."""

RETRY_S = 5.0
"""Seconds between two tries."""

_DISK = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "ENOENT", "ENOTDIR", "EFBIG", "ESTALE", "EACCES", "EPERM")
    if hasattr(errno, name)
}


@define(eq=False)
class _Entry:
    record: Registered[Service]
    make: Callable[[Path, int | None], ResultWriter]
    writer: ResultWriter
    waiting: deque[Mapping[str, Any]] = field(factory=lambda: deque(maxlen=MOST_WAITING))
    trouble: OSError | None = None
    again_at: float = 0.0

    @property
    def name(self) -> str:
        return f"the result writer {self.record.name!r} of {self.record.origin.distribution}"


class ResultLog:
    """The writers that a config names.

    A writer that raises is left out from then on, and said so. Where it is the disk's fault, results wait and are
    written when it takes them again, or into another folder when the run ends.

    Args:
        run_dir: the run folder.
        say: shows a line to people.
    """

    def __init__(self, run_dir: Path, say: Callable[[str], object]) -> None:
        self._run_dir, self._say = run_dir, say
        self._entries: list[_Entry] = []
        self._host = default_host()

    def open(self, algorithm: Algorithm, resume_at: int | None) -> None:
        """Make the writers; one that cannot be made is left out.

        Args:
            algorithm: its config names them; the time that they take counts as their plugin's.
            resume_at: the iteration after which a resumed run goes on.
        """
        named = [self._host.find_service("writer", name) for name in algorithm.config.writers]
        for record in {one.id: one for one in named}.values():
            load = record.load()

            def make(folder: Path, resumed: int | None, load: Callable[..., Any] = load) -> ResultWriter:
                writer = load(folder, algorithm.config.copy(copy_frozen=True), resumed)
                if not isinstance(writer, ResultWriter):
                    raise PluginError(f"it made {safe_text(writer, 80)}, expected an object with write() and close()")
                return writer

            def add(record: Registered[Service] = record, make: Callable[..., ResultWriter] = make) -> None:
                self._entries.append(_Entry(record, make, make(self._run_dir, resume_at)))

            if not self._watched(algorithm, record, "when it was made", add):
                whose = f"{record.name!r} of {record.origin.distribution}"
                self._say(f"the result writer {whose} could not be made and is left out; the log says why")

    def write(self, algorithm: Algorithm, result: Mapping[str, Any]) -> None:
        """Hand a result to every writer, after those that wait."""
        shown = read_only(result)
        for entry in list(self._entries):
            had_trouble = entry.trouble
            entry.waiting.append(shown)
            if had_trouble is not None and time.monotonic() < entry.again_at:
                continue
            if not self._watched(algorithm, entry.record, "write()", self._catch_up, entry):
                self._entries.remove(entry)
                self._say(f"{entry.name} failed and is left out; the log says why")
            elif entry.trouble is not None and had_trouble is None:
                reason = entry.trouble.strerror or entry.trouble
                self._say(f"{entry.name} cannot write ({reason}); results wait in memory, and it is tried again")
            elif entry.trouble is None and had_trouble is not None:
                self._say(f"{entry.name} has written all that had to wait")

    def close(self, algorithm: Algorithm, elsewhere: Callable[[], Path]) -> None:
        """Close the writers; what still waits is written into another folder.

        Args:
            algorithm: see :meth:`open`.
            elsewhere: gives that folder, or raises OSError.
        """
        for entry in self._entries:
            if entry.waiting:
                self._watched(algorithm, entry.record, "write()", self._catch_up, entry)
            self._watched(algorithm, entry.record, "close()", entry.writer.close)
            if entry.waiting:
                self._write_elsewhere(algorithm, entry, elsewhere)
        self._entries = []

    def _catch_up(self, entry: _Entry) -> None:
        try:
            while entry.waiting:
                entry.writer.write(entry.waiting[0])
                entry.waiting.popleft()
            entry.trouble = None
        except OSError as error:
            if error.errno not in _DISK:
                raise
            entry.trouble, entry.again_at = error, time.monotonic() + RETRY_S

    def _write_elsewhere(self, algorithm: Algorithm, entry: _Entry, elsewhere: Callable[[], Path]) -> None:
        count = len(entry.waiting)

        def write() -> None:
            entry.writer = entry.make(elsewhere(), None)
            self._catch_up(entry)
            entry.writer.close()

        if self._watched(algorithm, entry.record, "write() elsewhere", write) and not entry.waiting:
            self._say(f"{entry.name} wrote the last {count} results to {elsewhere()}")
        else:
            self._say(f"{entry.name} could not write the last {count} results anywhere")

    def _watched(
        self,
        algorithm: Algorithm,
        record: Registered[Service],
        what: str,
        function: Callable[..., object],
        *args: object,
    ) -> bool:
        """Call a writer: what it raises or does to generators changes nothing, its time is the plugin's."""
        callbacks = getattr(algorithm, "callbacks", None)  # an algorithm may do without
        seconds = {} if callbacks is None else callbacks.plugin_seconds
        with learning_kept(), self._host.watchers.counting(seconds):
            return self._host.watchers.call(record.origin, f"writer {record.name!r}, {what}", function, *args)
