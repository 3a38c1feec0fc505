"""Safetensors files, read and written once: hashed on the way, and no array copied that need not be."""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import torch
from attrs import frozen

from rlkit_core.checkpoint import files, strict_json
from rlkit_core.checkpoint.hashing import RunningHash, hashing, is_large
from rlkit_core.errors import CheckpointError

_HEADER_LIMIT = 100_000_000  # bytes, as safetensors has it
_BLOCK = 1 << 20
_CACHED = 1 << 17
"""Bytes that are read to be hashed at once: they are still in the processor's cache then."""
_DTYPES = {  # in the order of files, large elements first, so that every array is aligned
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "C64": "complex64",
    "F32": "float32",
    "U32": "uint32",
    "I32": "int32",
    "BF16": "bfloat16",
    "F16": "float16",
    "U16": "uint16",
    "I16": "int16",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
Read = tuple[dict[str, torch.Tensor], dict[str, str]]
"""Tensors by name, and texts."""
_NAMES = {name: (rank, code) for rank, (code, name) in enumerate(_DTYPES.items())}


# -- writing -----------------------------------------------------------------------------------------------


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Write a new safetensors file, flush it to disk, and say what ``metadata.json`` is to know of it.

    Arrays are written from where they are, and hashed there while that goes on: they must not change meanwhile.

    Args:
        path: the file; there is none.
        tensors: by name, dense ones on the CPU; only those that are not contiguous are copied.
        about: texts that the header has beside them.

    Returns:
        ``{"sha256": ..., "size": ...}``.

    Raises:
        OSError: the file could not be written (disk full, no permission).
    """
    ranked = sorted((*_NAMES[str(tensor.dtype).removeprefix("torch.")], name) for name, tensor in tensors.items())
    parts = [_bytes_of(tensors[name]) for _, _, name in ranked]
    header: dict[str, Any] = {"__metadata__": dict(about)} if about else {}
    end = 0
    for (_, code, name), part in zip(ranked, parts, strict=True):
        begin, end = end, end + len(part)
        header[name] = {"dtype": code, "shape": list(tensors[name].shape), "data_offsets": [begin, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with hashing() as digest, open(path, "xb", buffering=0) as file:
        for data in (memoryview(len(text).to_bytes(8, "little") + text), *parts):
            digest.update(data, beside=is_large(end))
            _write(file, data)
        os.fsync(file.fileno())
        return {"sha256": digest.hexdigest(), "size": 8 + len(text) + end}


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def _write(file: FileIO, part: memoryview) -> None:
    at = 0
    while at < len(part):
        at += file.write(part[at : at + _BLOCK])


# -- reading -----------------------------------------------------------------------------------------------


def read_tensors(path: Path, entry: object = None, *, mapped: bool = False, checked: bool = False) -> Read:
    """The tensors of a safetensors file by name, and the texts about them.

    Args:
        path: the file.
        entry: what ``metadata.json`` says of it; None: its hash is not looked at.
        mapped: a large file's tensors are views of it, for somebody who copies them soon: its pages are read through
            the system's cache and take no memory of the process. What is written to such a tensor stays the
            process's own. Else each is in memory of its own, to which it was read straight.
        checked: its hash has been looked at already.

    Raises:
        CheckpointError: it is missing, a link, not as it was written, unreadable, or no safetensors file.
    """
    sha256, size = (None, files.check_plain_file(path)) if entry is None else files.recorded(path, entry)
    try:
        with open(path, "rb", buffering=0) as file, hashing() as digest:
            if mapped and is_large(size):
                if not checked:
                    _hash_all(file, size, digest, path)
                    _check_hash(digest, sha256, path)
                found = _map(file, size, path)
            else:
                found = _read(file, size, None if checked or sha256 is None else digest, path)
                _check_hash(digest, None if checked else sha256, path)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    return found


def _check_hash(digest: RunningHash, sha256: str | None, path: Path) -> None:
    if sha256 is not None and digest.hexdigest() != sha256:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one recorded at the save")


def _read(file: FileIO, size: int, digest: RunningHash | None, path: Path) -> Read:
    """Read tensors to where they are to be; the hash is computed beside that."""

    def read(count: int) -> torch.Tensor:
        data = torch.empty(count, dtype=torch.uint8)  # numpy would ask for huge pages, which are slow to read to
        view, at = data.numpy().data, 0
        while at < count:
            got = file.readinto(view[at : at + _BLOCK])
            if not got:
                raise CheckpointError(f"{path} is damaged: it ends too early")
            if digest is not None:
                digest.update(view[at : at + got], beside=is_large(count // 8))
            at += got
        return data

    length = _header_length(read(8).numpy().tobytes(), size, path)
    layout = _Layout.of(read(length).numpy().tobytes(), size - 8 - length, path)
    tensors: dict[str, torch.Tensor] = {}
    for name, one in layout.places.items():
        data = read(one.stop - one.begin)
        tensors[name] = data.view(one.dtype).view(one.shape) if len(data) else torch.empty(one.shape, dtype=one.dtype)
    _check_end(file, path)
    return tensors, layout.about


def _hash_all(file: FileIO, size: int, digest: RunningHash, path: Path) -> None:
    """Read a file to hash it, through a small block.

    Not through a mapping: what cannot be read, or has been cut off, is an error of a read, but ends a process that
    touches it where it is mapped.
    """
    block = memoryview(bytearray(_CACHED))
    left = size
    while left:
        got = file.readinto(block[:left])
        if not got:
            raise CheckpointError(f"{path} is damaged: it ends too early")
        digest.update(block[:got], beside=False)
        left -= got
    _check_end(file, path)


def _map(file: FileIO, size: int, path: Path) -> Read:
    """Let tensors be views of a file, which has so many bytes."""
    mapping = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
    length = _header_length(mapping[:8], size, path)
    layout = _Layout.of(mapping[8 : 8 + length], size - 8 - length, path)
    tensors: dict[str, torch.Tensor] = {}
    for name, one in layout.places.items():
        if one.begin == one.stop:
            tensors[name] = torch.empty(one.shape, dtype=one.dtype)
            continue
        at = 8 + length + one.begin
        data = torch.frombuffer(mapping, dtype=torch.uint8, offset=at, count=one.stop - one.begin)
        data = data.clone() if at % one.dtype.itemsize else data  # other writers than ours need not align
        tensors[name] = data.view(one.dtype).view(one.shape)
    return tensors, layout.about


def _header_length(data: bytes, size: int, path: Path) -> int:
    length = int.from_bytes(data, "little")
    if 8 + length > size or length > _HEADER_LIMIT:
        raise CheckpointError(f"{path} is damaged: its header is longer than the file")
    return length


def _check_end(file: FileIO, path: Path) -> None:
    if file.read(1):
        raise CheckpointError(f"{path} is damaged: it has grown while it was read")


@frozen
class _Place:
    """Where the data of a tensor are, from the header's end on, and what they are."""

    begin: int
    stop: int
    dtype: torch.dtype
    shape: list[int]


@frozen
class _Layout:
    """What a header says: tensors by name, in the order of the file and without gaps, and texts."""

    places: dict[str, _Place]
    about: dict[str, str]

    @classmethod
    def of(cls, data: bytes, left: int, path: Path) -> _Layout:
        """That of a header before ``left`` bytes of data, which it accounts for."""
        header = strict_json.loads(data, str(path))
        about = header.pop("__metadata__", {})
        if not all(isinstance(text, str) for text in about.values()):
            raise CheckpointError(f"{path} is damaged: its metadata are no texts")
        places: dict[str, _Place] = {}
        end = 0
        for name, entry in sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"])):
            begin, stop = entry["data_offsets"]
            dtype, shape = getattr(torch, _DTYPES[entry["dtype"]]), [*entry["shape"]]
            if not all(type(number) is int and number >= 0 for number in (begin, stop, *shape)):
                raise CheckpointError(f"{path} is damaged: {name[:80]!r} has an impossible shape or place")
            if begin != end or stop != begin + math.prod(shape) * dtype.itemsize or stop > left:
                raise CheckpointError(f"{path} is damaged: {name[:80]!r} is not where its bytes are")
            places[name] = _Place(begin, stop, dtype, shape)
            end = stop
        if end != left:
            raise CheckpointError(f"{path} is damaged: it has {left - end} bytes that belong to nothing")
        return cls(places, about)
