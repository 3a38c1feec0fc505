"""One end of the line between a driver and an actor: framed messages over a socket, arrays through segments.

A message is a header, the numbers of segments that are gone, and its structure; structures beyond ``INLINE`` bytes lie
in the segment too, so what passes through the socket is always small. Descriptors of new segments travel with the
header (``SCM_RIGHTS``).
"""

from __future__ import annotations

import array
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from rlkit_processes.codec import Encoded, Source, decode, encode
from rlkit_processes.published import PublishedArrays
from rlkit_processes.segments import HEADER, MAX_LOANS, InPool, OutPool, aligned

INLINE = 16 * 1024
"""Structures up to this many bytes go through the socket; larger ones through the segment."""

# kind, flags, segments gone, attachments; segment, call; length of the structure, its place, size of the segment
_HEAD = struct.Struct("<BBHHxxIQQQQ")
_NEW, _STRUCTURE_INSIDE = 1, 2
_READ = 64 * 1024
_ROOM_FOR_FDS = socket.CMSG_SPACE(4 * 64)


class Closed(Exception):  # noqa: N818 - it is a fact, not a fault
    """The other side is gone."""


class Message:
    """A message that has arrived; :meth:`load` builds its content.

    Attributes:
        kind: what the sender said it is.
        call: number of the call it belongs to.
    """

    __slots__ = ("_attachments", "_in", "_segment", "_start", "_structure", "call", "kind")

    def __init__(
        self,
        kind: int,
        call: int,
        structure: Any,
        pool: InPool,
        segment: int,
        start: int,
        attachments: list[PublishedArrays],
    ) -> None:
        self.kind, self.call = kind, call
        self._structure, self._in, self._segment, self._start = structure, pool, segment, start
        self._attachments = attachments

    def load(self) -> Any:
        """Build the content, once. Its large arrays are views that keep the segment; the rest is private."""
        pool, number = self._in, self._segment
        if not number:
            return decode(self._structure, Source(b"", 0, None, self._attachments))
        borrow: Callable[[], Any] | None = (lambda: pool.borrow(number)) if pool.loans < MAX_LOANS else None
        source = Source(pool.memory(number), self._start, borrow, self._attachments)
        try:
            return decode(self._structure, source)
        finally:
            if not source.borrowed:
                pool.give_back(number)


class Channel:
    """One end. Sending and receiving are each for one thread at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._out = OutPool()
        self._in = InPool()
        self._buffer = b""
        self._fds: deque[int] = deque()  # descriptors that came and are not used yet
        self._fileno = sock.fileno()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._watching = False
        self._tick: int | None = None
        self._is_gone: Callable[[], bool] = bool
        self._sent: set[int] = set()
        self._known: dict[int, PublishedArrays] = {}

    def watch(self, pidfd: int | None, is_gone: Callable[[], bool]) -> None:
        """Notice the other process's end even where a child of it keeps the socket open.

        Args:
            pidfd: becomes readable when that process ends; None where the system has no such thing.
            is_gone: asked instead, twice a second.
        """
        self._watching, self._is_gone = True, is_gone
        if pidfd is None:
            self._tick = 500
        else:
            self._poll.register(pidfd, select.POLLIN)

    # -- sending --------------------------------------------------------------------------------------------------

    def pack(self, kind: int, call: int, content: Any, *, classes_of_peer: dict[type, Any] | None = None) -> Packed:
        """Encode a message and copy its arrays; what ``content`` holds may be changed afterwards.

        Raises:
            Exception: what pickling raised.
        """
        message = encode(content, classes_of_peer=classes_of_peer)
        return Packed(kind, call, message, self._out)

    def send(self, packed: Packed) -> None:
        """Send a packed message.

        Raises:
            Closed: the other side is gone.
        """
        fds = []
        flags, segment = packed.flags, packed.segment
        number = size = 0
        if segment is not None:
            number, size = segment.number, segment.size
            if segment.fd >= 0:
                flags |= _NEW
                fds.append(segment.fd)
        tokens = []
        for published in packed.attachments:
            token = published.token
            if token not in self._sent:
                fds.append(published.fd)
            tokens.append(token << 1 | (token not in self._sent))
            self._sent.add(token)
        gone, self._out.dropped = self._out.dropped, []
        data = _HEAD.pack(
            packed.kind,
            flags,
            len(gone),
            len(tokens),
            number,
            packed.call,
            packed.length,
            packed.start,
            size,
        )
        if gone or tokens:
            data += struct.pack(f"<{len(gone)}I{len(tokens)}Q", *gone, *tokens)
        data += packed.inline
        try:
            if fds:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
                sent = self.sock.sendmsg([data], rights)
            else:
                sent = self.sock.send(data)
            if sent < len(data):
                self.sock.sendall(data[sent:])
        except OSError as error:
            raise Closed(str(error)) from None
        if segment is not None:
            segment.close_fd()

    # -- receiving ------------------------------------------------------------------------------------------------

    def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            Closed: the other side is gone.
        """
        head = self._read(_HEAD.size)
        kind, flags, gone, n_tokens, segment, call, length, start, size = _HEAD.unpack(head)
        inside = flags & _STRUCTURE_INSIDE
        body = self._read(4 * gone + 8 * n_tokens + (0 if inside else length))
        if flags & _NEW:
            self._in.add(segment, self._fds.popleft(), size)
        attachments: list[PublishedArrays] = []
        if gone or n_tokens:
            numbers = struct.unpack_from(f"<{gone}I{n_tokens}Q", body)
            for number in numbers[:gone]:
                self._in.forget(number)
            attachments = [self._attachment(token) for token in numbers[gone:]]
            body = body[4 * gone + 8 * n_tokens :]
        structure: Any = body
        if inside:
            place = HEADER + start
            structure = memoryview(self._in.memory(segment))[place : place + length]
        return Message(kind, call, structure, self._in, segment, HEADER, attachments)

    def _attachment(self, token: int) -> PublishedArrays:
        if token & 1:
            self._known[token >> 1] = PublishedArrays.attach(token >> 1, self._fds.popleft())
        return self._known[token >> 1]

    def _read(self, nbytes: int) -> bytes:
        """Take bytes that have come, waiting for more as needed; descriptors queue up as they come."""
        while len(self._buffer) < nbytes:
            if self._watching:
                self._wait()
            try:
                data, rights, _, _ = self.sock.recvmsg(_READ, _ROOM_FOR_FDS)
            except OSError as error:
                raise Closed(str(error)) from None
            for level, kind, raw in rights:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    for (fd,) in struct.iter_unpack("i", raw[: len(raw) - len(raw) % 4]):
                        os.set_inheritable(fd, False)
                        self._fds.append(fd)
            if not data:
                raise Closed("end of file")
            self._buffer = self._buffer + data if self._buffer else data
        taken, self._buffer = self._buffer[:nbytes], self._buffer[nbytes:]
        return taken

    def _wait(self) -> None:
        while True:
            ready = self._poll.poll(self._tick)
            if any(fd == self._fileno for fd, _ in ready):
                return
            if ready or self._is_gone():
                raise Closed("its process has ended")

    def close(self) -> None:
        """Close the socket, and let go of all segments; what was received stays valid."""
        self.sock.close()
        self._out.forget_all()
        self._in.forget_all()


class Packed:
    """A message that is ready to be sent."""

    __slots__ = ("attachments", "call", "flags", "inline", "kind", "length", "segment", "start")

    def __init__(self, kind: int, call: int, message: Encoded, pool: OutPool) -> None:
        self.kind, self.call = kind, call
        self.attachments: list[PublishedArrays] = message.attachments
        self.inline, self.flags, self.start = message.structure, 0, 0
        self.length = len(message.structure)
        inside = self.length > INLINE
        nbytes = message.nbytes + (aligned(self.length) if inside else 0)
        self.segment = pool.take(nbytes) if nbytes else None
        if self.segment is None:
            return
        try:
            message.write(self.segment.memory, HEADER)
            if inside:
                self.flags |= _STRUCTURE_INSIDE
                self.start = message.nbytes
                place = HEADER + self.start
                self.segment.memory[place : place + self.length] = message.structure
                self.inline = b""
        except BaseException:
            self.segment.take_back()
            raise

    def discard(self) -> None:
        """Give its segment back, for it is not going to be sent."""
        if self.segment is not None:
            self.segment.take_back()
