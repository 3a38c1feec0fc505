"""The records of a TensorBoard event file, written without TensorBoard, whose import takes longer than an iteration.

A record is a message ``tensorflow.Event`` in the encoding of Protocol Buffers, behind its length (8 bytes, the lowest
first); length and message are each followed by a masked CRC-32C (Castagnoli, Braeuer, Herrmann, "Optimization of Cyclic
Redundancy-Check Codes", 1993).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable

_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY, _SESSION_LOG = 1, 2, 3, 5, 7
_VALUE, _TAG, _SIMPLE_VALUE, _STATUS, _START = 1, 1, 2, 1, 1
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5


def beginning(purge_step: int | None = None) -> bytes:
    """What a file begins with; points of earlier files at ``purge_step`` and later count no longer."""
    whole = _record(_field(_FILE_VERSION, b"brain.Event:2"))
    if purge_step is not None:
        started = _field(_SESSION_LOG, _key(_STATUS, _VARINT) + _varint(_START))
        whole += _record(_key(_STEP, _VARINT) + _varint(purge_step) + started)
    return whole


def scalars(step: int, values: Iterable[tuple[str, float]]) -> bytes:
    """One record with a point of each curve, ``(tag, value)``."""
    points = []
    for tag, value in values:
        number = struct.pack("<f", max(-_LARGEST, min(_LARGEST, value)))
        points.append(_field(_VALUE, _field(_TAG, tag.encode()) + _key(_SIMPLE_VALUE, _FLOAT) + number))
    return _record(_key(_STEP, _VARINT) + _varint(step) + _field(_SUMMARY, b"".join(points)))


_LARGEST = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]


def _record(event: bytes) -> bytes:
    event = _key(_WALL_TIME, _DOUBLE) + struct.pack("<d", time.time()) + event
    length = struct.pack("<Q", len(event))
    return length + _checksum(length) + event + _checksum(event)


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _field(field: int, content: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """A whole number in groups of 7 bits, the lowest first; a negative one as its two's complement of 64 bits."""
    number &= (1 << 64) - 1
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _checksum(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _REMAINDERS[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_REMAINDERS = tuple(map(_remainder, range(256)))
