"""One process at a time in a run folder: ``run.lock``, which the system forgets when its process ends."""

from __future__ import annotations

import json
import os
import socket
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rlkit_core.errors import ConfigError

LOCK_FILE = "run.lock"


class RunLock:
    """A run folder's lock. A process that dies, however, leaves it free; the file stays, and says who had it last.

    Args:
        folder: the run folder, which exists.
        say: shows a line to people.
    """

    def __init__(self, folder: Path, say: Callable[[str], object]) -> None:
        self.path = folder / LOCK_FILE
        self._say = say
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the lock; where the file system has none, say so and go on without.

        Raises:
            ConfigError: another process (or another run of this one) has it; the message names it.
        """
        try:
            while self._descriptor is None:
                self._try_once()
        except (OSError, ImportError) as error:
            why = getattr(error, "strerror", None) or error
            self._say(f"no lock keeps a second process out of {self.path.parent}: {why}")
            return
        _held.add(self)
        with suppress(OSError):  # a full disk: then the file does not say who has it
            os.ftruncate(self._descriptor, 0)
            about = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
            os.write(self._descriptor, json.dumps(about).encode())

    def _try_once(self) -> None:
        import fcntl

        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is(descriptor):  # else its holder removed it just now
                self._descriptor, descriptor = descriptor, -1
        except BlockingIOError:
            raise ConfigError(self._refusal(descriptor)) from None
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _refusal(self, descriptor: int) -> str:
        about: Any = None
        with suppress(ValueError, OSError):
            about = json.loads(os.pread(descriptor, 1000, 0))
        known = isinstance(about, dict) and {"pid", "host"} <= about.keys()
        who = f"process {about['pid']} on {about['host']}" if known else "another process"
        return (
            f"the run folder {self.path.parent} is in use by {who}; let that end first (kill -TERM ends it with a "
            "checkpoint), or choose another folder with --run-dir"
        )

    def renew(self) -> None:
        """Take the lock of a folder that was made again; somebody who was quicker is named, and stops nobody here."""
        if self._descriptor is not None and not self._is(self._descriptor):
            self.forget()
            try:
                self.take()
            except ConfigError as error:
                self._say(str(error))

    def release(self) -> None:
        """Give the lock back, and remove its file; a second call does nothing."""
        if self._descriptor is not None:
            if self._is(self._descriptor):
                with suppress(OSError):
                    os.unlink(self.path)
            self.forget()

    def _is(self, descriptor: int) -> bool:
        """Whether the open file is the one that has the name."""
        try:
            there, opened = os.stat(self.path), os.fstat(descriptor)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino)

    def forget(self) -> None:
        """Close the file without giving the lock back: what a forked child does, which would keep it otherwise."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None
        _held.discard(self)


_held: weakref.WeakSet[RunLock] = weakref.WeakSet()


def _in_child() -> None:
    for lock in list(_held):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
