"""What tells two checkpoints apart."""

import copy

import numpy as np
import pytest
import torch

from rlkit_core.checkpoint.compare import count_arrays, differences


@pytest.fixture
def pair(root, toys, tmp_path):
    root.group.leaves["p0"].weight.data[0] = float("nan")
    path = root.save_to_path(tmp_path / "c")
    return root, toys.Root.from_checkpoint(path)


def found(one, other):
    return [(d.component, d.name, d.text) for d in differences(one.snapshot(), other.snapshot())]


def test_a_restored_copy_is_equal_nans_and_all(pair):
    assert found(*pair) == []
    assert count_arrays(pair[0].snapshot()) == {"group/p/1": 1, "group/p0": 1}


def test_each_difference_is_named_with_its_component(pair):
    one, other = pair
    other.group.leaves["p0"].weight.data[1] += 0.25
    other.group.leaves["p/1"].weight.data[0] = float("nan")
    other.group.step = 7
    said = found(one, other)
    assert ("group", "step", "0 and 7") in said
    assert ("group/p0", "weight", "1 of 3 numbers differ, by up to 0.25") in said
    assert ("group/p/1", "weight", "1 of 2 numbers differ, some are not finite") in said
    assert ("group", "arguments/1/step", "0 and 7") in said
    assert len(said) == 4


def test_zeros_of_two_signs_differ(toys):
    leaf = toys.Leaf(2)
    leaf.weight.data.zero_()
    other = copy.deepcopy(leaf)
    other.weight.data[1] = -0.0
    assert found(leaf, other) == [("", "weight", "1 of 2 numbers differ, by up to 0")]


def test_shapes_kinds_arguments_and_parts(toys):
    one, other = toys.Leaf(2), toys.SpecialLeaf(3, options={"a": 1})
    said = found(one, other)
    assert [name for _, name, _ in said] == ["class", "arguments/0/0", "arguments/1/options", "weight"]
    assert said[-1][2] == "float32 of shape (2,) and float32 of shape (3,)"
    groups = toys.Group({"a": 1}), toys.Group({"b": 1})
    told = [(component, text) for component, name, text in found(*groups) if name == "component"]
    assert told == [("a", "only the first has it"), ("b", "only the second has it")]


def test_flags_and_whole_numbers(toys, monkeypatch):
    before = {"f": np.array([True, False]), "n": np.array([1, 2])}
    states = iter([before, {"f": np.array([True, True]), "n": np.array([1, 5])}])
    monkeypatch.setattr(toys.Leaf, "get_state", lambda self, *a, **k: next(states))
    leaf = toys.Leaf(1)
    assert [text for _, _, text in found(leaf, leaf)] == ["1 of 2 numbers differ", "1 of 2 numbers differ, by up to 3"]


def test_what_a_clock_wrote_is_left_out(toys, monkeypatch):
    states = iter([{"timers": {"a": 1.0}, "n": 1}, {"timers": {"a": 2.0}, "n": 1}])
    monkeypatch.setattr(toys.Leaf, "get_state", lambda self, *a, **k: next(states))
    leaf = toys.Leaf(1)
    assert found(leaf, leaf) == []
    assert torch.equal(leaf.weight, leaf.weight)
