"""Saving, restoring and rebuilding trees of components."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from rlkit_core.checkpoint import (
    Checkpointable,
    CheckpointNotFoundError,
    PassAtLoad,
    get_checkpoint_info,
    read_snapshot,
)
from rlkit_core.checkpoint.saved_component import directory_name
from rlkit_core.errors import CheckpointError


def weights(root):
    return {name: leaf.weight.detach().clone() for name, leaf in root.group.leaves.items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_tree_comes_back_as_it_was(root, toys, tmp_path):
    root.group.step = 11
    root.group.rng.random(5)
    path = root.save_to_path(tmp_path / "ckpt")
    assert path == str(tmp_path / "ckpt")
    again = toys.Root.from_checkpoint(path)
    assert equal(weights(root), weights(again))
    assert again.group.step == 11
    assert np.array_equal(root.group.rng.random(9), again.group.rng.random(9))
    again.group.leaves["p0"].weight.data.zero_()
    again.restore_from_path(path)
    assert equal(weights(root), weights(again))


def test_layout_and_metadata(root, tmp_path):
    path = Path(root.save_to_path(tmp_path / "ckpt"))
    found = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}
    files = ("metadata.json", "class_and_ctor_args.json")
    assert found == (
        {f"{d}{f}" for d in ("", "group/") for f in (*files, "state.json", "state.safetensors")}
        | {f"group/{d}/{f}" for d in ("p0", "p%2F1") for f in (*files, "module_state.json", "module_state.safetensors")}
    )
    metadata = json.loads((path / "group" / "metadata.json").read_text())
    assert metadata["components"] == ["p0", "p/1"]
    assert metadata["format_version"] == 1
    assert metadata["torch_version"] == torch.__version__
    assert {"name", "version", "packages"} <= metadata["plugins"][0].keys()
    assert re.fullmatch("[0-9a-f]{64}", metadata["files"]["state.safetensors"]["sha256"])
    info = get_checkpoint_info(path)
    assert info["type"] == "Root"
    assert info["components"] == {"group": {"p0": {}, "p/1": {}}}
    assert info["checkpoint_dir"] == str(path)


def test_component_trace_and_further_metadata_are_kept(toys, tmp_path):
    class Traced(toys.Leaf):
        def component_trace(self):
            return [{"component": "rlkit-core/mlp", "rule": "built-in"}]

        def get_metadata(self):
            return {**super().get_metadata(), "note": "mine"}

    info = get_checkpoint_info(Traced(2).save_to_path(tmp_path / "c"))
    assert info["component_trace"] == [{"component": "rlkit-core/mlp", "rule": "built-in"}]
    assert info["note"] == "mine"


def test_from_checkpoint_of_the_base_gives_the_subclass(toys, tmp_path):
    path = toys.SpecialLeaf(3, 2.5, options={"a": (1, None), "b": np.arange(2)}).save_to_path(tmp_path / "c")
    for base in (Checkpointable, toys.Leaf, toys.SpecialLeaf):
        leaf = base.from_checkpoint(path)
        assert type(leaf) is toys.SpecialLeaf
        assert (leaf.size, leaf.scale, leaf.options["a"]) == (3, 2.5, (1, None))
    with pytest.raises(CheckpointError, match=r"SpecialLeaf, which is not a subclass of .*Group"):
        toys.Group.from_checkpoint(path)


def test_arguments_are_overridden_by_name(toys, tmp_path):
    path = toys.Leaf(3, 2.0, fn=lambda: 1).save_to_path(tmp_path / "c")
    leaf = toys.Leaf.from_checkpoint(path)
    assert isinstance(leaf.fn, PassAtLoad)
    with pytest.raises(CheckpointError, match=r"'fn'.*pass it again"):
        leaf.fn()
    assert toys.Leaf.from_checkpoint(path, fn=len, scale=4.0).scale == 4.0
    assert toys.Leaf.from_checkpoint(path, fn=len).fn is len
    with pytest.raises(ValueError, match="shape mismatch"):
        toys.Leaf.from_checkpoint(path, size=4)  # stored as a positional argument
    with pytest.raises(TypeError, match="no_such"):
        toys.Leaf.from_checkpoint(path, no_such=1)


def test_an_argument_whose_class_is_gone_can_be_replaced(toys, tmp_path):
    lost = type("Lost", (), {"__module__": "gone_package.mod"})
    path = toys.Leaf(3, options=lost).save_to_path(tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"argument 'options'.*gone_package\.mod:Lost"):
        toys.Leaf.from_checkpoint(path)
    assert toys.Leaf.from_checkpoint(path, classes=[lost]).options is lost
    assert toys.Leaf.from_checkpoint(path, options=None).options is None


def test_parts_load_into_any_place(root, toys, tmp_path):
    path = root.save_to_path(tmp_path / "ckpt")
    other = toys.Root({"p0": 3, "p/1": 2})
    before = weights(other)
    other.restore_from_path(tmp_path / "ckpt" / "group" / "p%2F1", component="group/p/1")
    assert torch.equal(other.group.leaves["p/1"].weight, root.group.leaves["p/1"].weight)
    assert torch.equal(other.group.leaves["p0"].weight, before["p0"])
    other.restore_from_path(Path(path) / "group", component="group")
    assert equal(weights(other), weights(root))
    lone = toys.Leaf.from_checkpoint(Path(path) / "group" / "p0")
    assert torch.equal(lone.weight, root.group.leaves["p0"].weight)
    with pytest.raises(ValueError, match="shape mismatch"):
        other.restore_from_path(Path(path) / "group" / "p0", component="group/p/1")


@pytest.mark.parametrize(
    ("component", "known"),
    [
        ("groop", "'group'"),
        ("group/p9", "'p0', 'p/1'"),
        ("group/p0/x", "none"),
        ("/", "'group'"),
        ("..", "'group'"),
    ],
)
def test_unknown_components_are_errors_that_list_the_known(root, tmp_path, component, known):
    path = root.save_to_path(tmp_path / "ckpt")
    with pytest.raises(CheckpointError, match=re.escape(f"its components are: {known}")):
        root.restore_from_path(path, component=component)
    with pytest.raises(CheckpointError, match="no component"):
        root.save_to_path(tmp_path / "second", components=component)
    assert not (tmp_path / "second").exists()


def test_a_restricted_save_restores_what_it_holds(root, toys, tmp_path):
    path = root.save_to_path(tmp_path / "ckpt", components="group/p0")
    assert get_checkpoint_info(path)["components"] == {"group": {"p0": {}}}
    other = toys.Root({"p0": 3, "p/1": 2})
    kept = other.group.leaves["p/1"].weight.detach().clone()
    other.restore_from_path(path)
    assert torch.equal(other.group.leaves["p0"].weight, root.group.leaves["p0"].weight)
    assert torch.equal(other.group.leaves["p/1"].weight, kept)
    without = root.save_to_path(tmp_path / "without", not_components=["group/p0"])
    assert get_checkpoint_info(without)["components"] == {"group": {"p/1": {}}}


def test_a_given_state_is_written_and_split(root, toys, tmp_path):
    state = root.get_state()
    state["iteration"] = 99
    state["group"] = {**state["group"], "step": 5, "p0": {"weight": np.full(3, 4.0, np.float32)}}
    del state["group"]["p/1"]
    snapshot, _ = read_snapshot(root.save_to_path(tmp_path / "ckpt", state=state))
    assert snapshot.state() == {"iteration": 99}
    group = snapshot.components["group"]
    assert group.state()["step"] == 5
    assert group.components["p0"].state()["weight"].tolist() == [4.0] * 3
    assert np.array_equal(group.components["p/1"].state()["weight"], root.group.leaves["p/1"].weight.detach())
    assert group.components["p/1"].class_ref.endswith(":Leaf")


def test_components_that_the_state_brings_are_restored_after_it(toys, tmp_path):
    source = toys.Group({"a": 2, "b": 3})
    path = source.save_to_path(tmp_path / "ckpt")
    target = toys.Group({"a": 2, "z": 1})
    target.restore_from_path(path)
    assert list(target.leaves) == ["a", "b"]
    for name in "ab":
        assert torch.equal(target.leaves[name].weight, source.leaves[name].weight)
    assert target.calls == [["rng", "sizes", "step"]]  # own state only


def test_components_that_only_one_side_has(toys, tmp_path):
    class Fixed(toys.Group):
        def set_state(self, state):
            self.step = state["step"]

    path = Fixed({"a": 2, "b": 3}).save_to_path(tmp_path / "ckpt")
    other = Fixed({"a": 2, "c": 3}, step=4)
    with pytest.raises(CheckpointError, match=r"only the object has \['c'\], only the checkpoint has \['b'\]"):
        other.restore_from_path(path)
    other = Fixed({"a": 2, "c": 3}, step=4)
    other.restore_from_path(path, strict=False)
    assert other.step == 0


def test_strict_reaches_set_state(toys, tmp_path):
    leaf = toys.Leaf(2)
    path = leaf.save_to_path(tmp_path / "c", state={"weight": np.ones(2, np.float32), "more": 1})
    with pytest.raises(ValueError, match="keys"):
        leaf.restore_from_path(path)
    leaf.restore_from_path(path, strict=False)
    assert leaf.weight.tolist() == [1.0, 1.0]


def test_nothing_is_written_when_something_cannot_be(root, toys, tmp_path):
    root.group.step = object()
    with pytest.raises(CheckpointError, match=r"component 'group'.*\['step'\]"):
        root.save_to_path(tmp_path / "ckpt")
    with pytest.raises(CheckpointError, match=r"arguments of Leaf.*\['options'\]\['net'\].*live nn\.Module"):
        toys.Leaf(2, options={"net": torch.nn.Linear(1, 1)}).save_to_path(tmp_path / "ckpt")
    assert list(tmp_path.iterdir()) == []


def test_paths(root, toys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fresh = Path(root.save_to_path())
    assert fresh.parent == tmp_path
    assert toys.Root.from_checkpoint(str(fresh)).group.leaves.keys() == {"p0", "p/1"}
    monkeypatch.chdir(tmp_path)
    assert root.save_to_path("a/b/c") == str(tmp_path / "a/b/c")
    (tmp_path / "empty").mkdir()
    root.save_to_path(tmp_path / "empty")
    os.symlink(tmp_path / "empty", tmp_path / "latest")
    root.save_to_path(tmp_path / "latest")
    assert (tmp_path / "latest").is_symlink()
    root.restore_from_path("latest")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        root.restore_from_path("nowhere")
    with pytest.raises(CheckpointNotFoundError, match="not a checkpoint"):
        root.restore_from_path(tmp_path / "a")


def test_directories_with_other_content_are_refused(root, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("...")
    (tmp_path / "file").write_text("...")
    (tmp_path / "c.old").mkdir()
    (tmp_path / "c.old" / "mine").write_text("...")
    for name in ("thesis", "file", "c"):
        with pytest.raises(CheckpointError, match="choose another path"):
            root.save_to_path(tmp_path / name)
    assert (tmp_path / "thesis" / "chapter1.tex").exists()
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "name",
    ["..", ".", "a/b", "metadata.json", "x.safetensors", "p.old", "p.", "~", "ä", "\ud800", "a" * 300, "p.0"],
)
def test_any_component_name_is_a_safe_directory(name, toys, tmp_path):
    group = toys.Group({name: 2})
    path = Path(group.save_to_path(tmp_path / "ckpt"))
    again = toys.Group.from_checkpoint(path)
    assert torch.equal(again.leaves[name].weight, group.leaves[name].weight)
    directories = [p for p in path.iterdir() if p.is_dir()]
    assert [p.name for p in directories] == [directory_name(name)]


def test_names_that_differ_only_in_case_are_refused(toys, tmp_path):
    with pytest.raises(CheckpointError, match="case"):
        toys.Group({"P": 1, "p": 1}).save_to_path(tmp_path / "c")


def test_filters(root):
    check, inner = root._check_component, root._get_subcomponents
    assert check("a")
    assert check("a", "a/b")
    assert check("a", ["x", "a"])
    assert not check("a", ["ab", "x/a"])
    assert not check("a", None, {"a"})
    assert check("a", None, ["a/b"])
    assert inner("a", None) is None
    assert inner("a", "a/b/c") == ["b/c"]
    assert inner("a", ["a", "a/b"]) is None
    assert inner("a", ["b"]) is None


def test_parts_are_found_by_path_and_give_their_states(root):
    assert root.get_component("") is root
    assert root.get_component("group/p/1") is root.group.leaves["p/1"]
    with pytest.raises(CheckpointError, match=re.escape("the Group has no component 'p9'; its components are: 'p0'")):
        root.get_component("group/p9")
    states = root.get_component_states
    assert set(states()["group"]) >= {"step", "p0", "p/1"}
    assert set(states("group/p0")["group"]) >= {"step", "p0"}
    assert "p/1" not in states("group/p0")["group"]
    assert "p0" not in states(None, "group/p0")["group"]
    assert states("other") == states(None, ["group"]) == {}
