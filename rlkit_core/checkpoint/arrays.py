"""Reading safetensors files: once, hashed on the way, nothing copied."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from rlkit_core.checkpoint import files, strict_json
from rlkit_core.errors import CheckpointError

_HEADER_LIMIT = 100_000_000  # bytes, as safetensors has it
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}


def read_tensors(path: Path, entry: object = None) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a safetensors file by name, each in memory of its own, and the texts about them.

    The file is read once, straight to where the tensors are, and hashed on the way.

    Args:
        path: the file.
        entry: what ``metadata.json`` says of it; None: its hash is not looked at.

    Raises:
        CheckpointError: it is missing, a link, not as it was written, unreadable, or no safetensors file.
    """
    sha256, size = (None, files.check_plain_file(path)) if entry is None else files.recorded(path, entry)
    try:
        with open(path, "rb", buffering=0) as file:
            reader = files.HashingReader(file)
            try:
                found = _read(reader, size, str(path))
                if reader.rest():
                    raise CheckpointError(f"{path} is damaged: it has grown while it was read")
            finally:
                hashed = reader.close()
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    if sha256 is not None and hashed != sha256:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one recorded at the save")
    return found


def _read(reader: files.HashingReader, size: int, source: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    length = int.from_bytes(reader.read(8).tobytes(), "little")
    left = size - 8 - length
    if left < 0 or length > _HEADER_LIMIT:
        raise CheckpointError(f"{source} is damaged: its header is longer than the file")
    header = strict_json.loads(reader.read(length).tobytes(), source)
    about = header.pop("__metadata__", {})
    if not all(isinstance(text, str) for text in about.values()):
        raise CheckpointError(f"{source} is damaged: its metadata are no texts")
    tensors: dict[str, torch.Tensor] = {}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"])):
        begin, stop = entry["data_offsets"]
        dtype, shape = getattr(torch, _DTYPES[entry["dtype"]]), [*entry["shape"]]
        if not all(type(number) is int and number >= 0 for number in (begin, stop, *shape)):
            raise CheckpointError(f"{source} is damaged: {name[:80]!r} has an impossible shape or place")
        if begin != end or stop != begin + math.prod(shape) * dtype.itemsize or stop > left:
            raise CheckpointError(f"{source} is damaged: {name[:80]!r} is not where its bytes are")
        data = torch.from_numpy(reader.read(stop - begin))
        tensors[name] = data.view(dtype).view(shape) if len(data) else torch.empty(shape, dtype=dtype)
        end = stop
    if end != left:
        raise CheckpointError(f"{source} is damaged: it has {left - end} bytes that belong to nothing")
    return tensors, about
