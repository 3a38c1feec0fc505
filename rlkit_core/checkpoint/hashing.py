"""SHA-256 of what is read and written anyway: no pass over the bytes of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

_LARGE = 1 << 20
"""Bytes from which on a thread of its own is worth its while; hashlib lets others compute meanwhile."""


class RunningHash:
    """The hash of parts that come one after the other; see :func:`hashing`."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._worker: ThreadPoolExecutor | None = None
        self._given: list[Future[None]] = []

    def update(self, part: bytes | memoryview, *, beside: bool) -> None:
        """Take a part; ``beside`` what else is done, by a thread: it must stay as it is until the hash is asked for."""
        if beside:
            self._worker = self._worker or ThreadPoolExecutor(1)
            self._given.append(self._worker.submit(self._digest.update, part))
        else:
            self._wait()
            self._digest.update(part)

    def hexdigest(self) -> str:
        """The hash of all parts so far, as hex."""
        self._wait()
        return self._digest.hexdigest()

    def end(self) -> None:
        """End its thread; nothing is read from parts any more."""
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)

    def _wait(self) -> None:
        while self._given:
            self._given.pop(0).result()


@contextmanager
def hashing() -> Iterator[RunningHash]:
    """A running hash, whose thread ends with the block."""
    digest = RunningHash()
    try:
        yield digest
    finally:
        digest.end()


def is_large(size: int) -> bool:
    """Whether so many bytes are hashed beside what else is done."""
    return size >= _LARGE
