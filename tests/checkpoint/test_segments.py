"""Parts of a state that are written once and shared, and older checkpoints that lose what is bulky."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from rlkit_core.checkpoint import BULKY, Checkpointable, Segment, get_checkpoint_info, save_tree
from rlkit_core.checkpoint.thinning import thin
from rlkit_core.errors import CheckpointError


class Log(Checkpointable):
    """Pages that are only ever added."""

    def __init__(self, pages=()):
        self.pages, self.segments = [], []
        for page in pages:
            self.add(page)

    def add(self, page):
        self.pages.append(page)
        self.segments.append(Segment(lambda: page))

    def get_state(self, components=None, *, not_components=None, **kwargs):
        return {"pages": list(self.pages)}

    def get_state_to_save(self, not_components=()):
        return {"segments": self.segments}

    def set_state(self, state):
        self.segments = state["segments"]
        self.pages = [segment.tree() for segment in self.segments]

    def get_ctor_args_and_kwargs(self):
        return (), {}

    def get_metadata(self):
        return {**super().get_metadata(), BULKY: True}


class Whole(Checkpointable):
    """Has a log and a number."""

    def __init__(self):
        self.log, self.number = Log(), 1

    def get_checkpointable_components(self):
        return [("log", self.log)]

    def get_state(self, components=None, *, not_components=None, **kwargs):
        return {"number": self.number, **self.get_component_states(components, not_components)}

    def set_state(self, state):
        self.number = state["number"]

    def get_ctor_args_and_kwargs(self):
        return (), {}


PAGES = [{"a": torch.arange(5), "b": [np.ones((2, 2)), "text", None]}, (1, 2.5), {}]


def test_pages_come_back_as_they_were(tmp_path):
    log = Log(PAGES)
    log.save_to_path(tmp_path / "log")
    restored = Log.from_checkpoint(tmp_path / "log", classes=[Log])
    assert torch.equal(restored.pages[0]["a"], torch.arange(5))
    assert np.array_equal(restored.pages[0]["b"][0], np.ones((2, 2)))
    assert restored.pages[0]["b"][1:] == ["text", None]
    assert restored.pages[1:] == [(1, 2.5), {}]


def test_a_saved_page_is_never_asked_for_again(tmp_path):
    asked = []
    log = Log()
    log.segments.append(Segment(lambda: asked.append(1) or {"x": torch.ones(3)}))
    for k in range(4):
        log.save_to_path(tmp_path / str(k))
        if k > 1:
            os.rename(tmp_path / str(k - 2), tmp_path / f"moved-{k}")
    assert len(asked) == 1
    log.save_to_path(tmp_path / "3")  # in place of the one that it links
    restored = Log.from_checkpoint(tmp_path / "3", classes=[Log])
    restored.segments[0].comes_from(lambda: pytest.fail("it is linked"))
    restored.save_to_path(tmp_path / "4")
    assert os.path.samefile(tmp_path / "3" / "state-0.safetensors", tmp_path / "4" / "state-0.safetensors")
    assert len(asked) == 1


def test_what_a_segment_cannot_be(tmp_path):
    segment = Segment(lambda: 1)
    with pytest.raises(CheckpointError, match="no segments"):
        save_tree({"a": segment}, tmp_path)
    with pytest.raises(CheckpointError, match="cannot hold segments"):
        Log([segment]).save_to_path(tmp_path / "log")
    assert not (tmp_path / "log").exists()
    Log([1]).save_to_path(tmp_path / "log")
    path = tmp_path / "log" / "state.json"
    size = path.stat().st_size
    path.write_text(path.read_text().replace('"$segment": 0', '"$segment": 7'))
    assert path.stat().st_size == size
    with pytest.raises(CheckpointError, match=r"state\.json is damaged"):
        Log.from_checkpoint(tmp_path / "log", classes=[Log])


def test_older_checkpoints_lose_what_is_bulky(tmp_path):
    whole = Whole()
    whole.log.add({"x": torch.ones(3)})
    for name in ("old", "new"):
        whole.save_to_path(tmp_path / name)
    assert thin(tmp_path / "old") == ["log"]
    assert thin(tmp_path / "old") == []
    assert not (tmp_path / "old" / "log").exists()
    assert get_checkpoint_info(tmp_path / "old")["left_out"] == ["log"]
    whole.number = 2
    whole.restore_from_path(tmp_path / "old")
    assert whole.number == 1
    assert len(whole.log.pages) == 1  # left as it is
    assert len(Whole.from_checkpoint(tmp_path / "new", classes=[Whole, Log]).log.pages) == 1
