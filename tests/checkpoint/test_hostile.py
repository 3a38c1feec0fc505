"""Checkpoints that somebody wrote to do harm: each is refused with an error, and nothing outside it is touched."""

import hashlib
import json
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from rlkit_core.checkpoint import Checkpointable, get_checkpoint_info
from rlkit_core.errors import CheckpointError


@pytest.fixture
def path(toys, tmp_path):
    return Path(toys.Group({"a": 2, "b": 2}).save_to_path(tmp_path / "ckpt"))


def forge(directory, name, content):
    """Replace a file and make the recorded hash and size fit."""
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    (directory / name).write_bytes(content)
    metadata = json.loads((directory / "metadata.json").read_text())
    metadata["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    (directory / "metadata.json").write_text(json.dumps(metadata))


def edit_metadata(directory, **entries):
    metadata = json.loads((directory / "metadata.json").read_text())
    (directory / "metadata.json").write_text(json.dumps({**metadata, **entries}))


@pytest.mark.parametrize(
    "ref",
    [
        "os:system",
        "builtins:exec",
        "subprocess:Popen",
        "antigravity:x",
        "rlkit_core.checkpoint.files:os",
        "",
        3,
        None,
    ],
)
def test_a_class_that_is_none(path, ref):
    modules = set(sys.modules)
    forge(path, "class_and_ctor_args.json", {"class": ref, "ctor_args_and_kwargs": [["touch /tmp/x"], {}]})
    with pytest.raises(CheckpointError):
        Checkpointable.from_checkpoint(path)
    assert "antigravity" not in set(sys.modules) - modules


@pytest.mark.parametrize(
    "ctor",
    [
        None,
        [],
        [[], []],
        {"args": 1},
        [[], {"sizes": {"$class": "os:system"}}],
        [[], {"sizes": {"$class": "subprocess:Popen"}}],
        [[], {"sizes": {"$object": ["os.system", "x"]}}],
        [[], {"sizes": {"$ndarray": ["object", [1], "gASVBQAAAAAAAABLAC4="]}}],
        [[], {"sizes": {"$ndarray": ["int64", [10**12], ""]}}],
        [
            [],
            {"sizes": {"$space": {"type": "Box", "low": 0, "high": 1, "shape": [2**62], "dtype": "float32"}}},
        ],
        [[], {"$dict": [[1, 2]]}],
        [[], {"sizes": {"$tuple": [1], "$set": [1]}}],
    ],
)
def test_constructor_arguments(path, ctor, toys):
    forge(path, "class_and_ctor_args.json", {"class": toys_ref(toys.Group), "ctor_args_and_kwargs": ctor})
    with pytest.raises(CheckpointError):
        Checkpointable.from_checkpoint(path)


def toys_ref(cls):
    return f"{cls.__module__}:{cls.__qualname__}"


@pytest.mark.parametrize(
    "names",
    [["../../secret"], ["/etc"], ["a", "a"], [""], [None], [["a"]], "a", {"a": "../secret"}, ["a/../../.."]],
    ids=str,
)
def test_component_names_do_not_leave_the_checkpoint(path, names, toys, tmp_path):
    secret = toys.Leaf(2)
    secret.save_to_path(tmp_path / "secret")
    edit_metadata(path, components=names)
    with pytest.raises(CheckpointError):
        toys.Group({}).restore_from_path(path)
    with pytest.raises(CheckpointError):
        get_checkpoint_info(path)


@pytest.mark.parametrize("name", ["../state", "/etc/passwd", "state\0", "a b", "", 3, None])
def test_the_state_file_does_not_leave_the_checkpoint(path, name, toys):
    edit_metadata(path, state_file=name)
    with pytest.raises(CheckpointError, match="state_file"):
        toys.Group({}).restore_from_path(path)


def test_links_are_refused(path, toys, tmp_path):
    os.rename(path / "a", tmp_path / "a")
    (path / "a").symlink_to(tmp_path / "a", target_is_directory=True)
    with pytest.raises(CheckpointError, match="links are refused"):
        toys.Group({}).restore_from_path(path)
    (path / "a").unlink()
    (path / "a").symlink_to(path, target_is_directory=True)  # a cycle
    with pytest.raises(CheckpointError, match="links are refused"):
        get_checkpoint_info(path)


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"{}",
        b"null",
        b'{"format_version": true}',
        b'{"format_version": 1}',
        b'{"format_version": 0, "files": {}, "components": []}',
        b'{"format_version": 1, "files": {}, "components": [], "format_version": 1}',
        b'{"format_version": 1, "files": {}, "components": [], "state_file": "state"}',
        b'{"format_version": 1, "files": {"state.json": "x"}, "components": [], "state_file": "state"}',
        b'{"format_version": NaN}',
        b'{"format_version": ' + b"1" * 5000 + b"}",
        b'{"a": ' * 50_000,
        b"\x80\x04\x95",
    ],
    ids=lambda content: repr(content[:60]),
)
def test_metadata(path, content, toys):
    (path / "metadata.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"metadata\.json"):
        toys.Group({}).restore_from_path(path)


def safetensors_bytes(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100) + b"{}",
        safetensors_bytes(b"not json"),
        safetensors_bytes({"x": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}),
        safetensors_bytes({"x": {"dtype": "F64", "shape": [2**62], "data_offsets": [0, 8]}}, b"\0" * 8),
        safetensors_bytes({"x": {"dtype": "F64", "shape": [1], "data_offsets": [8, 0]}}, b"\0" * 8),
        safetensors_bytes({"x": {"dtype": "P", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 8),
        safetensors_bytes({}, b"\0" * 8),
    ],
    ids=lambda content: repr(content[:24]),
)
def test_array_files(path, content, toys):
    forge(path, "state.safetensors", content)
    with pytest.raises(CheckpointError, match=r"state\.safetensors"):
        toys.Group({}).restore_from_path(path)


@pytest.mark.parametrize("document", [{"$array": "../../x"}, {"$evil": 1}, {"step": {"$tensor": 5}}])
def test_state_documents(path, document, toys):
    forge(path, "state.json", document)
    with pytest.raises(CheckpointError):
        toys.Group({"a": 2, "b": 2}).restore_from_path(path)


def test_a_bfloat16_entry_is_no_numpy_array(toys, tmp_path):
    leaf = toys.Leaf(2)
    path = Path(leaf.save_to_path(tmp_path / "c"))
    entry = {"weight": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
    forge(path, "module_state.safetensors", safetensors_bytes(entry, b"\0" * 4))
    with pytest.raises(CheckpointError, match="bfloat16"):
        leaf.restore_from_path(path)


def test_a_pickle_is_never_opened(path, toys):
    class Bomb:
        def __reduce__(self):
            return (os._exit, (3,))

    import pickle

    for name in ("class_and_ctor_args.json", "state.json", "state.safetensors"):
        keep = (path / name).read_bytes()
        forge(path, name, pickle.dumps(Bomb()))
        with pytest.raises(CheckpointError):
            Checkpointable.from_checkpoint(path)
        forge(path, name, keep)
    (path / "class_and_ctor_args.pkl").write_bytes(pickle.dumps(Bomb()))
    assert np.isfinite(toys.Group.from_checkpoint(path).leaves["a"].weight.detach().numpy()).all()
