"""Output that never ends a run: what a stream cannot take is dropped, from then on quietly."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from typing import IO, Any, cast

logger = logging.getLogger(__name__)


class Unfailing:
    """A text stream in whose place another one stands that raises nothing: closed, full, or with nobody who reads.

    Args:
        stream: where to write; None (Python's, where there is no standard output) drops everything.
        name: what a message calls it.
        replaced: whether its file descriptor leads to nowhere after the first trouble, so that what Python has not
            written yet makes no trouble when it ends.
    """

    def __init__(self, stream: IO[str] | None, name: str = "the output", *, replaced: bool = False) -> None:
        self._stream, self._name, self._replaced = stream, name, replaced
        self._quiet = stream is None

    def write(self, text: str) -> int:
        """Write, or drop."""
        if not self._quiet:
            try:
                return self._stream.write(text)  # type: ignore[union-attr]
            except (OSError, ValueError) as error:
                self._be_quiet(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write, or drop."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush, or drop."""
        if not self._quiet:
            try:
                self._stream.flush()  # type: ignore[union-attr]
            except (OSError, ValueError) as error:
                self._be_quiet(error)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        try:
            return self._stream is not None and self._stream.isatty()
        except (OSError, ValueError):  # closed
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _be_quiet(self, error: Exception) -> None:
        self._quiet = True
        if self._replaced:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                try:
                    os.dup2(nowhere, self._stream.fileno())  # type: ignore[union-attr]
                finally:
                    os.close(nowhere)
        reason = getattr(error, "strerror", None) or error
        logger.warning("%s cannot be written (%s); the run goes on without it", self._name, reason)


def unfailing(stream: IO[str] | None) -> IO[str]:
    """The stream, as one that raises nothing; see :class:`Unfailing`."""
    return stream if isinstance(stream, Unfailing) else cast(IO[str], Unfailing(stream))


@contextlib.contextmanager
def unfailing_output() -> Iterator[None]:
    """Around a command that trains: its standard output and standard error raise nothing, whoever writes to them."""
    for descriptor in (0, 1, 2):  # one that is closed would be given to a file of the run
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free: this one
    out = cast(IO[str], Unfailing(sys.stdout, "standard output", replaced=True))
    err = cast(IO[str], Unfailing(sys.stderr, "standard error", replaced=True))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            yield
        finally:
            out.flush()
            err.flush()
