"""A state tree as one JSON document and one safetensors file, and back, exactly.

Arrays and tensors become safetensors entries named after their path of keys; the document holds the
structure, the scalars, and for each array a reference ``{"$array": name}`` or ``{"$tensor": name}``. numpy
scalars stay in the document as ``{"$scalar": [dtype, hex bytes]}``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import evolve, field, frozen

from rlkit_core.checkpoint import arrays, files, strict_json
from rlkit_core.checkpoint.files import JSON_LIMIT, read_bytes, read_checked
from rlkit_core.checkpoint.segments import Segment
from rlkit_core.checkpoint.strict_json import KeyPath, key_path
from rlkit_core.errors import CheckpointError

NUMPY_DTYPES = frozenset(
    {"bool", "complex64", "float16", "float32", "float64"}
    | {"uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"}
)
_TORCH_ONLY = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
TORCH_DTYPES = frozenset(getattr(torch, name) for name in (*NUMPY_DTYPES, *_TORCH_ONLY) if hasattr(torch, name))


@frozen
class EncodedTree:
    """A state tree ready to be written: the JSON ``document``, the ``tensors`` it refers to by name, and ``segments``
    by number. Of a tree that was read, tensors may be ``mapped``: views of their file, for one who copies them."""

    document: Any
    tensors: dict[str, torch.Tensor] = field(factory=dict)
    segments: list[Segment] = field(factory=list)
    mapped: bool = False

    def in_memory(self) -> EncodedTree:
        """The same, with tensors that anybody may keep."""
        if not self.mapped:
            return self
        return evolve(self, tensors={name: one.clone() for name, one in self.tensors.items()}, mapped=False)


class _Encoder:
    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.segments: list[Segment] = []
        self._storages: set[int] = set()

    def leaf(self, value: object, path: KeyPath) -> Any:
        if isinstance(value, torch.Tensor):
            return {"$tensor": self._add(_plain_tensor(value, path), path)}
        if isinstance(value, np.ndarray):
            return {"$array": self._add(torch.from_numpy(_plain_array(value, path)), path)}
        if isinstance(value, Segment):
            self.segments.append(value)
            return {"$segment": len(self.segments) - 1}
        if isinstance(value, np.generic):
            _check_numpy_dtype(value.dtype, path)
            little = np.asarray(value, dtype=value.dtype.newbyteorder("<"))
            return {"$scalar": [value.dtype.name, little.tobytes().hex()]}
        raise CheckpointError(
            f"state {key_path(path)} is a {type(value).__module__}.{type(value).__qualname__}; expected "
            "None, bool, int, float, str, a numpy array or scalar, a torch tensor, or a dict, list or tuple "
            "of these. Turn it into such data in get_state()"
        )

    def _add(self, tensor: torch.Tensor, path: KeyPath) -> str:
        name = "/".join(str(key) for key in path).encode("ascii", "backslashreplace").decode("ascii") or "root"
        if name == "__metadata__":  # the one name that safetensors keeps for itself
            name = "__metadata__~"
        while name in self.tensors:
            name += "~"
        storage = tensor.untyped_storage().data_ptr()
        if storage in self._storages:  # one file entry per array: what is shared is written twice
            tensor = tensor.clone()
        elif storage:
            self._storages.add(storage)
        self.tensors[name] = tensor
        return name


def _check_numpy_dtype(dtype: np.dtype[Any], path: KeyPath) -> None:
    if dtype.name not in NUMPY_DTYPES:
        raise CheckpointError(
            f"state {key_path(path)} has numpy dtype {dtype}, which safetensors cannot hold; expected one of "
            f"{', '.join(sorted(NUMPY_DTYPES))}"
        )


def _plain_array(value: np.ndarray[Any, Any], path: KeyPath) -> np.ndarray[Any, Any]:
    _check_numpy_dtype(value.dtype, path)
    if isinstance(value, np.ma.MaskedArray):
        raise CheckpointError(f"state {key_path(path)} is a masked array; store its data and mask as two arrays")
    array = np.asarray(value)
    native = array.dtype.isnative and array.flags.c_contiguous and array.flags.writeable
    return array if native else array.astype(array.dtype.newbyteorder("="), order="C", copy=True)


def _plain_tensor(value: torch.Tensor, path: KeyPath) -> torch.Tensor:
    if value.layout != torch.strided or value.is_quantized or value.device.type == "meta" or value.is_nested:
        raise CheckpointError(
            f"state {key_path(path)} is a tensor with layout {value.layout} on {value.device}; expected a dense one"
        )
    if value.dtype not in TORCH_DTYPES:
        raise CheckpointError(
            f"state {key_path(path)} has dtype {value.dtype}, which safetensors cannot hold; expected one of "
            f"{', '.join(sorted(str(d).removeprefix('torch.') for d in TORCH_DTYPES))}"
        )
    return value.detach().resolve_conj().resolve_neg().cpu().contiguous()


def encode_tree(tree: object) -> EncodedTree:
    """Split a state tree into its document and its tensors (which still share memory with the tree).

    Raises:
        CheckpointError: the tree holds something that cannot be written; the message has the path of keys.
    """
    encoder = _Encoder()
    document = strict_json.encode(tree, encoder.leaf)
    return EncodedTree(document, encoder.tensors, encoder.segments)


def parts_of(tree: object) -> tuple[Any, dict[str, torch.Tensor]]:
    """The document and the tensors of a state tree without segments.

    Raises:
        CheckpointError: it cannot be written, or has some.
    """
    encoded = encode_tree(tree)
    if encoded.segments:
        raise CheckpointError("a segment cannot hold segments")
    return encoded.document, encoded.tensors


def tree_of(document: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The state tree of :func:`parts_of`."""
    return decode_tree(EncodedTree(document, tensors))


def segment_file(name: str, index: int) -> str:
    """The file of a state's segment number ``index``."""
    return f"{name}-{index}.safetensors"


def decode_tree(encoded: EncodedTree) -> Any:
    """Rebuild the state tree from its document and tensors.

    Raises:
        CheckpointError: the document refers to an entry that is missing, or is malformed.
    """
    used: set[str] = set()

    def entry(payload: object, path: KeyPath) -> torch.Tensor:
        if not isinstance(payload, str) or payload not in encoded.tensors or payload in used:
            raise CheckpointError(f"state {key_path(path)}: no array {str(payload)[:80]!r} in the array file")
        used.add(payload)
        return encoded.tensors[payload]

    def array(payload: object, path: KeyPath) -> np.ndarray[Any, Any]:
        tensor = entry(payload, path)
        if str(tensor.dtype).removeprefix("torch.") not in NUMPY_DTYPES:
            raise CheckpointError(f"state {key_path(path)}: numpy has no dtype {tensor.dtype}")
        return tensor.numpy()

    left = dict(enumerate(encoded.segments))

    def segment(payload: object, path: KeyPath) -> Segment:
        if type(payload) is not int or payload not in left:
            raise CheckpointError(f"state {key_path(path)}: no segment {str(payload)[:80]!r}")
        return left.pop(payload)

    tags = {"$array": array, "$tensor": entry, "$scalar": decode_scalar, "$segment": segment}
    return strict_json.decode(encoded.document, tags)


def decode_scalar(payload: Any, path: KeyPath) -> Any:
    """Rebuild a numpy scalar from ``[dtype name, hex bytes]``."""
    try:
        name, text = payload
        if name in NUMPY_DTYPES:
            little = np.frombuffer(bytes.fromhex(text), dtype=np.dtype(name).newbyteorder("<"))
            if little.shape == (1,):
                return little.astype(name)[0]
    except (TypeError, ValueError):
        pass
    raise CheckpointError(f"{key_path(path)}: malformed numpy scalar")


def write_tree(encoded: EncodedTree, directory: Path, name: str) -> dict[str, Any]:
    """Write ``NAME.json`` and ``NAME.safetensors`` into ``directory``, flushed; what ``metadata.json`` says of each."""
    text, data = f"{name}.json", f"{name}.safetensors"
    return {
        text: files.write_bytes(directory / text, strict_json.dumps(encoded.document, lines=False)),
        data: arrays.write_tensors(directory / data, encoded.tensors),
    }


def read_tree(
    directory: Path,
    name: str,
    segments: Sequence[Segment] = (),
    recorded: Mapping[str, object] | None = None,
    *,
    mapped: bool = False,
) -> EncodedTree:
    """Read what :func:`write_tree` wrote, without decoding it.

    Args:
        directory, name: where it is.
        segments: of it, which are read on their own.
        recorded: hashes and sizes of files, as ``metadata.json`` has them; unless given they are not looked at.
        mapped: its tensors may be views of their file.

    Raises:
        CheckpointError: a file is missing or damaged; the message names it.
    """
    path = directory / f"{name}.json"
    text = read_bytes(path, JSON_LIMIT) if recorded is None else read_checked(path, recorded.get(path.name))
    document = strict_json.loads(text, str(path))
    path = directory / f"{name}.safetensors"
    entry = None if recorded is None else recorded.get(path.name, "nothing")
    tensors, _ = arrays.read_tensors(path, entry, mapped=mapped)
    return EncodedTree(document, tensors, list(segments), mapped)


def save_tree(tree: object, directory: str | os.PathLike[str], name: str = "state") -> None:
    """Write a state tree as ``NAME.json`` and ``NAME.safetensors`` into an existing directory.

    Raises:
        CheckpointError: the tree holds something that cannot be written; nothing was written then.
    """
    encoded = encode_tree(tree)
    if encoded.segments:
        raise CheckpointError("save_tree writes no segments; give it a state without them (get_state)")
    write_tree(encoded, Path(directory), name)


def load_tree(directory: str | os.PathLike[str], name: str = "state") -> Any:
    """Read the state tree that :func:`save_tree` wrote; arrays come back as arrays, tensors as CPU tensors.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    return decode_tree(read_tree(Path(directory), name))
