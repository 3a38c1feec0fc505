"""Space helpers: JSON round trips of every gymnasium space, structure, storage and messages."""

import json
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.errors import CheckpointError, ConfigError
from rlkit_core.spaces import (
    batch_zeros,
    describe,
    flat_leaves,
    map_space,
    nested_map,
    space_from_json,
    space_to_json,
    sub_spaces,
)


def round_trip(space):
    text = json.dumps(space_to_json(space), allow_nan=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return space_from_json(json.loads(text))


@st.composite
def boxes(draw):
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    dtype = np.dtype(draw(st.sampled_from(["float32", "float64", "float16", "uint8", "int64", "uint64", "int8"])))
    count = int(np.prod(shape))
    if dtype.kind == "f":
        numbers = st.floats(width=dtype.itemsize * 8, allow_nan=False)
    else:
        limits = np.iinfo(dtype)
        numbers = st.integers(int(limits.min), int(limits.max))
    pairs = draw(st.lists(st.tuples(numbers, numbers), min_size=count, max_size=count))
    if pairs and draw(st.booleans()):
        pairs = [pairs[0]] * count
    low = np.array([min(p) for p in pairs], dtype=dtype).reshape(shape)
    high = np.array([max(p) for p in pairs], dtype=dtype).reshape(shape)
    return spaces.Box(low, high, shape, dtype=dtype.type)


small = st.integers(1, 5)
leaves = st.one_of(
    boxes(),
    st.builds(lambda n, start: spaces.Discrete(n, start=start), small, st.integers(-(2**40), 2**40)),
    st.builds(lambda n: spaces.Discrete(n, dtype=np.int16), small),
    st.builds(lambda a, b: spaces.MultiDiscrete([[a, b], [b, a]], start=[[a, 0], [0, -b]]), small, small),
    st.builds(lambda nvec: spaces.MultiDiscrete(nvec, dtype=np.int32), st.lists(small, min_size=1, max_size=4)),
    st.builds(spaces.MultiBinary, st.one_of(small, st.lists(small, min_size=2, max_size=3))),
    st.builds(lambda n, c: spaces.Text(n, charset=c), small, st.text(min_size=1, max_size=5).map(set).map("".join)),
)
nested = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(st.tuples(st.text(max_size=4), inner), max_size=3, unique_by=lambda p: p[0]).map(spaces.Dict),
        st.lists(inner, max_size=3).map(spaces.Tuple),
        st.lists(inner, min_size=1, max_size=2).map(spaces.OneOf),
        st.builds(lambda s, stack: spaces.Sequence(s, stack=stack), inner, st.booleans()),
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(nested)
def test_json_round_trip_is_exact(space):
    again = round_trip(space)
    assert again == space
    assert type(again) is type(space)
    pairs = zip(flat_leaves(space), flat_leaves(again), strict=True)
    for (path, leaf), (path_again, leaf_again) in pairs:  # also checks that Dict keeps its order
        assert path == path_again
        assert leaf.dtype == leaf_again.dtype
        if isinstance(leaf, spaces.Box):
            # Box equality is approximate; ours must not be
            assert leaf.low.tobytes() == leaf_again.low.tobytes()
            assert leaf.high.tobytes() == leaf_again.high.tobytes()


def test_graph_and_unbounded_integers():
    for edge in (None, spaces.Discrete(4)):
        graph = spaces.Graph(spaces.Box(-1, 1, (3,)), edge)
        assert round_trip(graph) == graph
    box = spaces.Box(-np.inf, np.inf, (2,), np.int64)
    assert not round_trip(box).is_bounded("below")
    assert round_trip(spaces.Box(0, 5, (2,), np.int64)).is_bounded("both")


def test_constant_bounds_are_written_once():
    text = json.dumps(space_to_json(spaces.Box(0, 255, (210, 160, 3), np.uint8)))
    assert len(text) < 200


def test_dict_keeps_an_order_that_is_not_sorted():
    space = spaces.Dict([("b", spaces.Discrete(2)), ("a", spaces.Discrete(3))])
    assert list(round_trip(space).spaces) == ["b", "a"]


def test_a_foreign_space_class_is_refused_by_name():
    class Ring(gym.Space):
        pass

    with pytest.raises(CheckpointError, match="Ring"):
        space_to_json(spaces.Dict(a=Ring()))


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"type": "os.system"},
        {"type": ["Box"]},
        {"type": "Box"},
        {"type": "Box", "low": "nan", "high": 1, "shape": [1], "dtype": "float32"},
        {"type": "Box", "low": 0, "high": [1, 2], "shape": [3], "dtype": "float32"},
        {"type": "Box", "low": 0, "high": 1, "shape": [-1], "dtype": "float32"},
        {"type": "Box", "low": 0, "high": 1, "shape": [1], "dtype": "object"},
        {"type": "Discrete", "n": 0, "start": 0},
        {"type": "Discrete", "n": "3", "start": 0},
        {"type": "Tuple", "spaces": [{"type": "Discrete"}]},
        {"type": "Dict", "spaces": {"a": 1}},
    ],
)
def test_malformed_descriptions_are_refused(data):
    with pytest.raises(CheckpointError):
        space_from_json(data)


NESTED = spaces.Dict(
    cam=spaces.Box(0, 255, (4, 4, 3), np.uint8),
    rest=spaces.Tuple([spaces.Discrete(3), spaces.Dict(x=spaces.MultiBinary(2), y=spaces.MultiDiscrete([2, 3]))]),
)


def test_flat_leaves_paths():
    assert [path for path, _ in flat_leaves(NESTED)] == [
        ("cam",),
        ("rest", "0"),
        ("rest", "1", "x"),
        ("rest", "1", "y"),
    ]
    assert flat_leaves(spaces.Discrete(2)) == [((), spaces.Discrete(2))]


def test_batch_zeros_has_the_shapes_and_dtypes_of_stacked_samples():
    zeros = batch_zeros(NESTED, (5, 2))

    def check(array, sample):
        assert array.shape == (5, 2, *np.shape(sample))
        assert array.dtype == np.asarray(sample).dtype
        assert not array.any()

    nested_map(check, zeros, NESTED.sample())
    with pytest.raises(ConfigError, match="Text"):
        batch_zeros(spaces.Dict(t=spaces.Text(3)))
    with pytest.raises(ConfigError, match="Sequence"):
        batch_zeros(spaces.Sequence(spaces.Discrete(3)))


def test_nested_map_keeps_structure_and_refuses_another():
    assert nested_map(lambda a, b: a + b, {"a": (1, [2])}, {"a": (10, [20])}) == {"a": (11, [22])}
    with pytest.raises(ValueError, match="differ"):
        nested_map(max, {"a": 1}, {"b": 1})
    with pytest.raises(ValueError, match="differ"):
        nested_map(max, (1, 2), (1,))


def test_describe_is_short():
    assert describe(spaces.Discrete(3, start=1)) == "Discrete(3, start=1)"
    assert describe(spaces.Box(0, 255, (84, 84, 3), np.uint8)) == "Box([0, 255], (84, 84, 3), uint8)"
    many = spaces.Dict({f"key{i}": spaces.Box(np.zeros(99), np.arange(99), dtype=np.float64) for i in range(50)})
    assert len(describe(many)) < 400
    assert "44 more" in describe(many)


def test_a_function_goes_over_the_leaves_of_a_space():
    inner = spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3)])
    nested = spaces.Dict({"a": inner, "b": spaces.Discrete(4)})
    assert sub_spaces(nested) == [("a", inner), ("b", nested["b"])]
    assert sub_spaces(inner) == [(0, inner[0]), (1, inner[1])]
    assert sub_spaces(inner[0]) is None
    given = {"b": 3, "a": [1, 2], "more": 0}
    assert map_space(lambda leaf, x: (int(leaf.n), x), nested, given) == {"a": ((2, 1), (3, 2)), "b": (4, 3)}
    with pytest.raises(KeyError):
        map_space(lambda leaf, x: x, nested, {"a": (1, 2)})
