"""What goes through Ray: a small structure, and beside it the bytes of each array, which Ray writes once and maps.

A result has one receiver, and so have a call's arguments: nobody else ever reads that object, so its arrays are used
where Ray has put them, and may be changed there like any array. What is published has many readers, who leave it alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rlkit_processes.codec import COPY_BELOW, ClassesOfPeer, Pieces, decode, encode

_Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Message = bytes | tuple[bytes, list[_Bytes]]
"""``(structure, bytes of each array)``, or without arrays the structure alone, which Ray passes on as it is."""

RESULT, ERROR, REFUSED = 1, 2, 3
"""What an actor's answer is: ``(one of these, content)``."""


def pack(content: object, classes_of_peer: ClassesOfPeer | None = None) -> Message:
    """A message of any object.

    Raises:
        Exception: whatever pickling a part of it raises.
    """
    message = encode(content, classes_of_peer=classes_of_peer)
    pieces = message.pieces()
    return (message.structure, pieces) if pieces else message.structure


def unpack(message: Message) -> Any:
    """The object, its large arrays where they lie.

    Raises:
        Exception: whatever building a part of it raises.
    """
    if isinstance(message, bytes):
        return decode(message, Pieces([]))
    structure, pieces = message
    return decode(structure, Pieces([_writable(piece) for piece in pieces]))


class _InPlace:
    """Lends numpy the memory of an array that Ray says is read-only."""

    def __init__(self, array: _Bytes) -> None:
        self.array = array  # holds Ray's object
        described = array.__array_interface__
        self.__array_interface__ = {**described, "data": (described["data"][0], False)}


def _writable(piece: _Bytes) -> _Bytes:
    # A small one that is kept for long is not to hold a whole object.
    return piece.copy() if piece.nbytes < COPY_BELOW else np.asarray(_InPlace(piece))
