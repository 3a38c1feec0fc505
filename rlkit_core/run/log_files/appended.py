"""A file of a run that is added to, and stays whole where the disk takes no more."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO


class AppendedFile:
    """A file that is opened to be added to.

    What is added is there whole or, where the disk takes no more, not at all, so that it can be tried again.

    Args:
        path: made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] = path.open("ab", buffering=0)
        self._whole: int | None = None  # how long it was before a failure that could not be taken back

    def append(self, data: bytes, head: Callable[[], bytes] = bytes) -> None:
        """Add to the file; one that is empty, or gone and begun anew, gets ``head()`` first.

        Raises:
            OSError: nothing was added.
        """
        if not self.is_there():
            self.open_again()
        if not os.fstat(self._file.fileno()).st_size:
            self._write(head())
        self._write(data)

    def _write(self, data: bytes) -> None:
        descriptor = self._file.fileno()
        if self._whole is not None:
            os.ftruncate(descriptor, self._whole)
        self._whole = os.fstat(descriptor).st_size
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, self._whole)
                self._whole = None
            raise
        self._whole = None

    def is_there(self) -> bool:
        """Whether the file that is open is the one that has its name."""
        try:
            there, opened = os.stat(self.path), os.fstat(self._file.fileno())
        except (FileNotFoundError, ValueError):  # ValueError: closed, as it could not be opened again
            return False
        return (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino)

    def open_again(self) -> None:
        """Open the file that has the name now, which was put in the other's place or is new."""
        self._file.close()
        self._file = self.path.open("ab", buffering=0)
        self._whole = None

    def close(self) -> None:
        """Close it."""
        self._file.close()
