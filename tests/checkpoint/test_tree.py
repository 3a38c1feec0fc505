"""State trees survive the files exactly, and what cannot be written is refused by its path of keys."""

import collections
import enum
import math
import random
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rlkit_core.checkpoint import load_tree, save_tree
from rlkit_core.checkpoint.tree import NUMPY_DTYPES, TORCH_DTYPES
from rlkit_core.errors import CheckpointError

DTYPES = st.sampled_from(sorted(NUMPY_DTYPES)).map(np.dtype)
ARRAYS = DTYPES.flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, min_side=0, max_side=3)))
KEYS = st.one_of(
    st.text(max_size=6),
    st.integers(),
    st.sampled_from(["a/b", "a.b", "$array", "$dict", "__metadata__", "", "a~"]),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.floats(),
    st.text(st.characters(), max_size=6),
    DTYPES.flatmap(lambda d: hnp.arrays(d, ())).map(lambda a: a[()]),
)
TREES = st.recursive(
    SCALARS | ARRAYS | ARRAYS.map(torch.from_numpy),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
    ),
    max_leaves=12,
)


def identical(a, b):
    """Equality of type, order and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return [(k, type(k)) for k in a] == [(k, type(k)) for k in b] and all(identical(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(identical, a, b))
    if isinstance(a, torch.Tensor):
        raw_a, raw_b = (t.detach().contiguous().flatten().view(torch.uint8) if t.numel() else t for t in (a, b))
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(raw_a, raw_b)
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or struct.pack("d", a) == struct.pack("d", b)
    return a == b


def round_trip(tree):
    with tempfile.TemporaryDirectory() as directory:
        save_tree(tree, directory)
        return load_tree(directory)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TREES)
def test_round_trip_is_exact(tree):
    assert identical(round_trip(tree), tree)


@pytest.mark.parametrize("dtype", sorted(TORCH_DTYPES, key=str), ids=str)
def test_every_torch_dtype(dtype):
    tensor = torch.arange(-3, 9).reshape(3, 4).to(dtype)
    tree = {
        "whole": tensor,
        "transposed": tensor.t(),
        "row": tensor[1],
        "column": tensor[:, 1],
        "zero": tensor[0, 0],
    }
    again = round_trip(tree)
    for key, value in tree.items():
        assert again[key].dtype == dtype
        assert identical(again[key], value.clone(memory_format=torch.contiguous_format)), key


def test_parameters_shared_storage_and_views():
    base = torch.nn.Parameter(torch.randn(4, 3))
    array = np.arange(12.0).reshape(3, 4)
    frozen = np.broadcast_to(np.float32(2), (2, 2))
    tree = {
        "p": base,
        "again": base,
        "view": base[1:],
        "a": array,
        "b": array,
        "cut": array[:, ::-2],
        "f": frozen,
    }
    again = round_trip(tree)
    for key, value in tree.items():
        expected = value.detach().numpy() if isinstance(value, torch.Tensor) else value
        assert np.array_equal(np.asarray(again[key]), expected), key
    assert type(again["p"]) is torch.Tensor
    again["a"][:] = 0  # what is loaded is writable and not shared
    assert again["b"].any()


def test_states_of_generators_continue():
    for bits in (np.random.PCG64(5), np.random.MT19937(5), np.random.Philox(5)):
        before = np.random.Generator(bits)
        before.random(7)
        after = np.random.Generator(type(bits)())
        after.bit_generator.state = round_trip(before.bit_generator.state)
        assert np.array_equal(before.random(50), after.random(50))
    source, copy = random.Random(3), random.Random()
    copy.setstate(round_trip(source.getstate()))
    assert source.random() == copy.random()
    generator = torch.Generator().manual_seed(4)
    other = torch.Generator()
    other.set_state(round_trip({"g": generator.get_state()})["g"])
    assert torch.equal(torch.rand(5, generator=generator), torch.rand(5, generator=other))


def test_state_of_an_optimizer_continues():
    def make():
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 2)
        return net, torch.optim.Adam(net.parameters(), lr=0.1)

    def step(net, optimizer):
        optimizer.zero_grad()
        net(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()

    net, optimizer = make()
    step(net, optimizer)
    state = round_trip({"net": net.state_dict(), "optimizer": optimizer.state_dict()})
    step(net, optimizer)
    net2, optimizer2 = make()
    net2.load_state_dict(state["net"])
    optimizer2.load_state_dict(state["optimizer"])
    step(net2, optimizer2)
    assert torch.equal(net.weight, net2.weight)


def test_subclasses_come_back_plain():
    point = collections.namedtuple("point", "x y")(1, 2)
    tree = {"o": collections.OrderedDict(b=1, a=2), "d": collections.defaultdict(list, a=[1]), "p": point}
    again = round_trip(tree)
    assert again == {"o": {"b": 1, "a": 2}, "d": {"a": [1]}, "p": (1, 2)}
    assert {type(v) for v in again.values()} == {dict, tuple}


def test_arrays_are_readable_by_anyone(tmp_path):
    save_tree({"encoder.0.weight": np.ones((2, 2)), "deep": {"er": torch.zeros(1, dtype=torch.bfloat16)}}, tmp_path)
    arrays = safetensors.torch.load_file(tmp_path / "state.safetensors")
    assert {name: tensor.dtype for name, tensor in arrays.items()} == {
        "encoder.0.weight": torch.float64,
        "deep/er": torch.bfloat16,
    }


class Color(enum.IntEnum):
    RED = 1


CYCLE: list = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "value",
    [
        b"bytes",
        object(),
        {1, 2},
        lambda: 0,
        int,
        1j,
        Color.RED,
        np.array(["a"]),
        np.str_("a"),
        np.array([object()]),
        np.zeros(2, np.complex128),
        np.zeros(2, [("a", int)]),
        np.datetime64("2020-01-01"),
        np.ma.masked_array([1, 2], [True, False]),
        torch.zeros(2, dtype=torch.complex128),
        torch.eye(2).to_sparse(),
        torch.zeros(2, device="meta"),
        torch.nn.Linear(1, 1),
        CYCLE,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_written_is_refused_by_its_keys(value, tmp_path):
    with pytest.raises(CheckpointError, match=r"\['optimizer'\]\['slots'\]\[1\]"):
        save_tree({"fine": 1, "optimizer": {"slots": [0, value]}}, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", [None, 1.5, True, (1,), np.int64(1), Color.RED])
def test_keys_must_be_strings_or_integers(key, tmp_path):
    with pytest.raises(CheckpointError, match=r"\['a'\]: key"):
        save_tree({"a": {key: 1}}, tmp_path)


@pytest.mark.parametrize(
    "document",
    [
        '{"a": NaN}',
        '{"a": 1, "a": 2}',
        '{"$array": "missing"}',
        '{"$array": ["x"]}',
        '[{"$array": "x"}, {"$array": "x"}]',
        '{"$tuple": 3}',
        '{"$tuple": [], "b": 1}',
        '{"$evil": []}',
        '{"$int": "zz"}',
        '{"$float": "1.0"}',
        '{"$dict": [[1, 2], [1, 3]]}',
        '{"$dict": [[[1], 2]]}',
        '{"$scalar": ["object", "00"]}',
        '{"$scalar": ["float64", "00"]}',
        "9" * 10_000,
        "[" * 300 + "]" * 300,
        "[" * 100_000,
        '"\xff"',
        "",
    ],
    ids=lambda document: document[:20],
)
def test_damaged_documents_are_refused(document, tmp_path):
    save_tree({"x": np.ones(1)}, tmp_path)
    Path(tmp_path / "state.json").write_bytes(document.encode("latin-1"))
    with pytest.raises(CheckpointError):
        load_tree(tmp_path)
