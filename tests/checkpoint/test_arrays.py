"""Files of arrays: the bytes that safetensors writes, hashed on the way, and read to memory or seen where they are."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from rlkit_core.checkpoint import Checkpointable, arrays, files, read_snapshot
from rlkit_core.checkpoint.tree import TORCH_DTYPES
from rlkit_core.errors import CheckpointError

LARGE = 1_500_000


def some(dtype, shape, seed=0):
    """Any bits but NaNs."""
    count = int(np.prod(shape)) * dtype.itemsize
    data = torch.from_numpy(np.random.default_rng(seed).integers(0, 2 if dtype is torch.bool else 60, count, np.uint8))
    return data.view(dtype).reshape(shape) if count else torch.empty(shape, dtype=dtype)


def described(path):
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}


dtypes = sorted(TORCH_DTYPES, key=str)
shapes = st.lists(st.integers(0, 4), max_size=3)
names = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1).filter(lambda x: x != "__metadata__")


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(names, st.tuples(st.sampled_from(dtypes), shapes), max_size=8))
def test_the_bytes_are_those_of_safetensors(tmp_path_factory, wanted):
    folder = tmp_path_factory.mktemp("arrays")
    tensors = {name: some(dtype, shape, k) for k, (name, (dtype, shape)) in enumerate(wanted.items())}
    found = arrays.write_tensors(folder / "ours", tensors, {"tree": "é\n"})
    save_file(tensors, folder / "theirs", {"tree": "é\n"})
    assert (folder / "ours").read_bytes() == (folder / "theirs").read_bytes()
    assert found == described(folder / "ours")
    loaded, about = arrays.read_tensors(folder / "ours", found)
    assert about == {"tree": "é\n"}
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape
        assert loaded[name].reshape(-1).view(torch.uint8).equal(tensor.reshape(-1).view(torch.uint8))


def test_large_arrays_are_hashed_beside_the_writing_and_their_thread_ends(tmp_path):
    base = some(torch.float32, (3, LARGE))
    tensors = {"a": base, "slice": base[1], "across": base[:2].t(), "none": base[:, :0], "h": base.half()}
    before = threading.active_count()
    found = arrays.write_tensors(tmp_path / "x", tensors)
    assert found == described(tmp_path / "x")
    assert threading.active_count() == before
    assert all(torch.equal(value, tensors[name]) for name, value in load_file(tmp_path / "x").items())
    with pytest.raises(FileExistsError):
        arrays.write_tensors(tmp_path / "x", tensors)
    assert threading.active_count() == before


@pytest.mark.parametrize("mapped", [False, True])
def test_damage_is_found_before_anything_is_given(tmp_path, mapped):
    path = tmp_path / "x"
    found = arrays.write_tensors(path, {"a": some(torch.float32, (LARGE,)), "b": some(torch.int64, (3,))})
    good = path.read_bytes()
    for damage, why in {
        good[:-1]: "bytes",
        good + b"\0": "bytes",
        good[:-9] + bytes([good[-9] ^ 1]) + good[-8:]: "SHA-256",
        b"\xff" + good[1:]: "is damaged",
    }.items():
        path.write_bytes(damage)
        with pytest.raises(CheckpointError, match=why):
            arrays.read_tensors(path, found, mapped=mapped)
    for damage in (good[: len(good) // 2], good + b"\0"):  # and one that changes while it is read
        path.write_bytes(damage)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "recorded", lambda path, entry: (entry["sha256"], entry["size"]))
            with pytest.raises(CheckpointError, match=r"ends too early|has grown"):
                arrays.read_tensors(path, found, mapped=mapped)


def test_mapped_tensors_are_the_files_until_they_are_written_to(tmp_path):
    path = tmp_path / "x"
    tensors = {"a": some(torch.float32, (LARGE,)), "b": some(torch.bool, (5,)), "c": some(torch.int16, (0, 2))}
    found = arrays.write_tensors(path, tensors)
    loaded, _ = arrays.read_tensors(path, found, mapped=True)
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    loaded["a"].add_(1)
    assert described(path) == found
    assert torch.equal(loaded["a"], tensors["a"] + 1)
    path.unlink()
    assert torch.equal(pickle.loads(pickle.dumps(loaded["a"])), tensors["a"] + 1)


def test_a_file_of_others_need_not_be_aligned(tmp_path):
    path = tmp_path / "x"
    values = some(torch.float64, (LARGE // 4,))
    count = values.numel() * 8
    header = f'{{"a":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}},"b":{{"dtype":"F64","shape":[{values.numel()}],'
    header = f'{header}"data_offsets":[1,{count + 1}]}}}}'.encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\7" + values.numpy().tobytes())
    for mapped in (False, True):
        loaded, _ = arrays.read_tensors(path, described(path), mapped=mapped)
        assert loaded["a"].tolist() == [7]
        assert torch.equal(loaded["b"], values)


class Weights(Checkpointable):
    """One large array, which a load copies or keeps."""

    copies = True

    def __init__(self):
        self.values, self.seen = torch.zeros(LARGE), None

    @classmethod
    def copies_state(cls):
        return cls.copies

    def get_state(self, components=None, *, not_components=None, **kwargs):
        return {"values": self.values}

    def set_state(self, state):
        self.seen = state["values"]
        self.values.copy_(state["values"])

    def get_ctor_args_and_kwargs(self):
        return (), {}


class Keeps(Weights):
    """It is said to copy, was so when it was saved, and does not."""

    copies = False


def mappings_of(path):
    with open("/proc/self/maps") as maps:
        return sum(str(path) in line for line in maps)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs /proc")
def test_only_those_who_copy_get_views_of_a_file(tmp_path):
    weights = Weights()
    weights.values.normal_()
    path = tmp_path / "c"
    weights.save_to_path(path)
    for kind, count in ((Weights, 1), (Keeps, 0)):
        loaded = kind()
        loaded.restore_from_path(path)
        assert torch.equal(loaded.values, weights.values)
        assert torch.equal(loaded.seen, weights.values)
        assert mappings_of(path) == count
        loaded.seen = None
    assert mappings_of(path) == 0
    Keeps().save_to_path(tmp_path / "keeps")
    snapshot, _ = read_snapshot(tmp_path / "keeps")
    assert not snapshot.tree.mapped
