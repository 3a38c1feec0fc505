"""Arrays that one process writes by version and any number of processes read: how weights reach runners.

The publisher copies a structure into shared memory once, however many readers there are. Two slots take turns, and each
carries a sequence number that is odd while it is written: a reader copies a slot out and keeps the copy only if the
number was even and the same before and after. So a reader never sees half an update, never waits for the publisher, and
the publisher never waits for a reader.
"""

from __future__ import annotations

import itertools
import os
import struct
import threading
import time
from typing import Any

import numpy as np

from rlkit_core.errors import ActorError
from rlkit_processes.codec import Attachable, encode, from_bytes
from rlkit_processes.segments import aligned, anonymous_file, map_file, size_class

_CONTROL = 4096  # the first page: the number of publications, then a record per slot
_COUNT = struct.Struct("<Q")
# sequence number, version, place, length of the structure, bytes of arrays
_SLOT = struct.Struct("<QqQQQ")
_SLOT_AT = (64, 192)
_tokens = itertools.count(1)


def _fence(lock: threading.Lock = threading.Lock()) -> None:  # noqa: B008 - one lock for all is what is wanted
    """Order memory accesses around this line on machines that reorder them."""
    with lock:
        pass


class PublishedArrays(Attachable):
    """Shared memory that the driver writes and actors read; pass it to an actor as (part of) an argument.

    Made by ``ProcessExecutor.published()``. On the driver's side it can publish and read, elsewhere only read.
    """

    def __init__(self) -> None:
        self._set_up(next(_tokens), anonymous_file(_CONTROL), _CONTROL)
        self._capacity = [0, 0]
        self._place = [0, 0]
        self._size = _CONTROL
        self._owner = os.getpid()
        self._writing = threading.Lock()

    def _set_up(self, token: int, fd: int, size: int) -> None:
        self.token = token
        self.fd = fd
        self._memory = map_file(fd, size)

    @classmethod
    def attach(cls, token: int, fd: int) -> PublishedArrays:
        """The reader's end, from a descriptor that it will own."""
        self = cls.__new__(cls)
        self._set_up(token, fd, os.fstat(fd).st_size)
        self._owner = -1
        return self

    # -- the publisher --------------------------------------------------------------------------------------------

    def publish(self, version: int, content: Any) -> None:
        """Make ``content`` (arrays and tensors at any depth) what readers find from now on.

        Raises:
            ActorError: called in another process than the one that made it.
            TypeError: ``content`` holds published arrays itself, or what cannot be pickled.
        """
        if self._owner != os.getpid():
            raise ActorError("published arrays are written only by the process that made them, and read elsewhere")
        with self._writing:
            message = encode(content)
            if message.attachments:
                raise TypeError("published arrays cannot hold published arrays; pass those to actors by themselves")
            length = len(message.structure)
            nbytes = aligned(length) + message.nbytes
            count = _COUNT.unpack_from(self._memory)[0] + 1
            slot = count & 1
            at = _SLOT_AT[slot]
            _SLOT.pack_into(self._memory, at, 2 * count + 1, version, 0, 0, 0)
            _fence()
            if nbytes > self._capacity[slot]:
                self._grow(slot, nbytes)
            place = self._place[slot]
            self._memory[place : place + length] = message.structure
            message.write(self._memory, place + aligned(length))
            _SLOT.pack_into(self._memory, at, 2 * count + 1, version, place, length, message.nbytes)
            _fence()
            _COUNT.pack_into(self._memory, at, 2 * count + 2)
            _fence()
            _COUNT.pack_into(self._memory, 0, count)

    def _grow(self, slot: int, nbytes: int) -> None:
        # At the end of the file, so that the other slot stays where its readers look for it.
        self._capacity[slot] = size_class(nbytes)
        self._place[slot] = self._size
        self._size += self._capacity[slot]
        os.ftruncate(self.fd, self._size)
        self._memory = map_file(self.fd, self._size)

    # -- readers --------------------------------------------------------------------------------------------------

    @property
    def version(self) -> int | None:
        """The latest version, or None before the first."""
        while True:
            count = _COUNT.unpack_from(self._memory)[0]
            if not count:
                return None
            _fence()
            sequence, version, *_ = _SLOT.unpack_from(self._memory, _SLOT_AT[count & 1])
            if sequence == 2 * count + 2:
                return int(version)

    def read(self, known: int | None = None) -> tuple[int, Any] | None:
        """Return the latest version and its structure, in private memory, which the caller may keep and change.

        Args:
            known: the version the caller has; None is returned, at no cost, when it is the latest.
        """
        if known is not None and self.version == known:
            return None
        give_up = time.monotonic() + 60.0
        while time.monotonic() < give_up:
            count = _COUNT.unpack_from(self._memory)[0]
            if not count:
                return None
            _fence()
            at = _SLOT_AT[count & 1]
            sequence, version, place, length, arrays = _SLOT.unpack_from(self._memory, at)
            if sequence != 2 * count + 2:
                continue  # overtaken by two publications
            end = place + aligned(length) + arrays
            if end > len(self._memory):
                self._memory = map_file(self.fd, os.fstat(self.fd).st_size)
            memory = self._memory
            copy = np.array(np.frombuffer(memory, np.uint8, end - place, place))
            _fence()
            if _COUNT.unpack_from(self._memory, at)[0] == sequence:
                return version, from_bytes(copy[:length].data, copy[aligned(length) :])
        raise ActorError("published arrays change faster than they can be read; publish less often")

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            os.close(self.fd)
            self.fd = -1
