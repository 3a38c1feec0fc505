"""Shared memory without names: segments that a sender fills and a receiver reads in place.

A segment is an anonymous file (``memfd_create``; elsewhere a temporary file that is unlinked before it is used), mapped
by both processes. Its descriptor travels once over the socket; nothing in the file system ever names it, so there is
nothing to clean up after a crash or a kill: the kernel frees it with its last mapping.

Ownership. A sender marks a segment as lent (byte 0), copies arrays in, and leaves it alone. The receiver's arrays are
views on the segment and keep it lent for as long as any of them lives; when the last one is gone the receiver clears
the mark, and the sender may fill the segment again. Neither side has to say a word to the other, and no view ever
changes under its holder.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import tempfile
import weakref
from typing import Any

import numpy as np

HEADER = 64
"""Bytes at the start of a segment: the mark, and padding so that arrays start on a cache line."""
ALIGN = 64
MAX_LOANS = 16
"""Segments of one sender that a receiver holds at most; beyond them it copies arrays out."""
MAX_FREE = 3
"""Free segments that a sender keeps for later calls when it has to make another one."""

_PAGE = mmap.PAGESIZE


def aligned(nbytes: int) -> int:
    """The next offset at which an array may start."""
    return -(-nbytes // ALIGN) * ALIGN


def size_class(nbytes: int) -> int:
    """Size of a segment for ``nbytes``: at most an eighth more, so that calls of about one size share segments."""
    step = max(_PAGE, 1 << max(0, nbytes.bit_length() - 4))
    return -(-nbytes // step) * step


def anonymous_file(nbytes: int) -> int:
    """Make a file of zeros that no name leads to, and return its descriptor."""
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            fd = os.memfd_create("rlkit", os.MFD_CLOEXEC)
            os.ftruncate(fd, nbytes)
            return fd
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryFile(dir=folder) as file:
        fd = os.dup(file.fileno())
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, nbytes)  # a full file system is an OSError here, and a SIGBUS later
    else:
        os.ftruncate(fd, nbytes)
    return fd


def map_file(fd: int, nbytes: int) -> mmap.mmap:
    """Map a descriptor, which may be closed afterwards."""
    if sys.version_info >= (3, 13):
        return mmap.mmap(fd, nbytes, trackfd=False)
    return mmap.mmap(fd, nbytes)


class _Loan(np.ndarray[Any, Any]):
    """All bytes of a lent segment; views of it hold it, and its end returns the segment."""


class OutSegment:
    """A segment seen by its sender."""

    def __init__(self, number: int, nbytes: int) -> None:
        self.number = number
        self.size = nbytes
        self.fd = anonymous_file(nbytes)
        self.memory = map_file(self.fd, nbytes)

    @property
    def lent(self) -> bool:
        """Whether the receiver still holds views on it."""
        return self.memory[0] != 0

    def lend(self) -> None:
        """Mark it; the receiver clears the mark."""
        self.memory[0] = 1

    def take_back(self) -> None:
        """Clear the mark of a segment that was never sent."""
        self.memory[0] = 0

    def close_fd(self) -> None:
        """Close the descriptor once the receiver has its own."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            self.close_fd()


class OutPool:
    """The segments by which one process sends arrays to another one."""

    def __init__(self) -> None:
        self._segments: list[OutSegment] = []  # least recently used first
        self._made = 0
        self.dropped: list[int] = []
        """Numbers of segments that are gone, for the receiver to forget with the next message."""

    def __len__(self) -> int:
        return len(self._segments)

    def take(self, nbytes: int) -> OutSegment:
        """Return a segment for ``nbytes`` beside its header, marked as lent: the tightest free one, or a new one."""
        need = HEADER + nbytes
        free = [segment for segment in self._segments if not segment.lent]
        fitting = [segment for segment in free if need <= segment.size <= max(4 * need, 16 * _PAGE)]
        if fitting:
            chosen = min(fitting, key=lambda segment: segment.size)
            self._segments.remove(chosen)
        else:
            for old in free[: len(free) - MAX_FREE + 1] if len(free) >= MAX_FREE else []:
                self._segments.remove(old)
                self.dropped.append(old.number)
            self._made += 1
            chosen = OutSegment(self._made, size_class(need))
        self._segments.append(chosen)
        chosen.lend()
        return chosen

    def forget_all(self) -> None:
        """Let go of all, with their descriptors; nobody reads them any more."""
        self._segments.clear()


class InPool:
    """The segments that one process receives from another one."""

    def __init__(self) -> None:
        self._memory: dict[int, mmap.mmap] = {}
        self._watches: dict[int, weakref.ref[_Loan]] = {}

    def add(self, number: int, fd: int, nbytes: int) -> None:
        """Map a new segment and close its descriptor."""
        try:
            self._memory[number] = map_file(fd, nbytes)
        finally:
            os.close(fd)

    def forget(self, number: int) -> None:
        """Let go of a segment; views on it stay valid."""
        self._memory.pop(number, None)

    def forget_all(self) -> None:
        """Let go of all; views on them stay valid."""
        self._memory.clear()

    def __len__(self) -> int:
        return len(self._memory)

    def memory(self, number: int) -> mmap.mmap:
        """All bytes of a segment, to be read before it is given back."""
        return self._memory[number]

    def borrow(self, number: int) -> np.ndarray[Any, Any]:
        """All bytes of a segment, which goes back to its sender when nothing refers to them any more."""
        memory = self._memory[number]
        loan: _Loan = _Loan((len(memory),), np.uint8, buffer=memory)

        def end(watch: weakref.ref[_Loan]) -> None:
            self._watches.pop(id(watch), None)
            memory[0] = 0

        watch = weakref.ref(loan, end)
        self._watches[id(watch)] = watch
        bytes_: np.ndarray[Any, Any] = loan
        return bytes_

    def give_back(self, number: int) -> None:
        """Return a segment that was read and not borrowed."""
        self._memory[number][0] = 0

    @property
    def loans(self) -> int:
        """How many segments are borrowed."""
        return len(self._watches)
