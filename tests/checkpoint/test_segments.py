"""Parts of a state that are written once and shared, and older checkpoints that lose what is bulky."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
import warnings

import numpy as np
import pytest
import torch

from rlkit_core.checkpoint import (
    BULKY,
    Checkpointable,
    Segment,
    arrays,
    files,
    get_checkpoint_info,
    read_snapshot,
    save_tree,
    segments,
)
from rlkit_core.checkpoint.locate import locate
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


# -- faults ------------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Nothing works any more."""


WRITES = [(os, "mkdir"), (os, "fsync"), (os, "link"), (os, "rename"), (files, "write_bytes"), (arrays, "write_tensors")]


def broken_at(patch, at, error, *, lasting):
    """Let the ``at``-th step of a save raise (and all after it): before it is taken, and a write when it is done."""
    calls = []

    def broken(name, original):
        def call(*args, **kwargs):
            calls.append(name)
            number = len(calls)
            fails = number == at or (lasting and number > at)
            if fails and not name.startswith("write"):
                raise error()
            result = original(*args, **kwargs)
            if fails:
                raise error()
            return result

        return call

    for owner, name in WRITES:
        patch.setattr(owner, name, broken(name, getattr(owner, name)))
    return calls


def pages_at(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the one before an interrupted save is as good
        return [page["x"].tolist() for page in Log.from_checkpoint(path, classes=[Log]).pages]


def page(number):
    return {"x": torch.full((3,), float(number))}


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.parametrize("name", ["2", "1"])
def test_a_save_with_linked_files_may_fail_at_any_step(tmp_path, monkeypatch, killed, name):
    """The one before stays whole, the new one is whole or not there, and the next save has all, in this process too."""
    old, both = [[float(k)] * 3 for k in range(2)], [[float(k)] * 3 for k in range(4)]
    for at in range(1, 100):
        folder = tmp_path / str(at)
        log = Log([page(0), page(1)])
        log.save_to_path(folder / "1")
        log.add(page(2))
        log.add(page(3))
        with monkeypatch.context() as patch:
            if killed:
                patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)  # a dead process cleans nothing up
            error = Killed if killed else lambda: OSError(errno.EIO, "Input/output error")
            calls = broken_at(patch, at, error, lasting=killed)
            try:
                log.save_to_path(folder / name)
                failed = False
            except (Killed, CheckpointError):
                failed = True
        assert pages_at(folder / "1") in ((old, both) if name == "1" else (old,))
        if ((folder / name).exists() and name == "2") or not failed:
            assert pages_at(folder / name) == both
        log.save_to_path(folder / "3")
        assert pages_at(folder / "3") == both
        if len(calls) < at:
            break
    assert not failed
    assert len(calls) > 10
    assert {"link", "fsync", "rename", "mkdir", "write_bytes", "write_tensors"} <= set(calls)


@pytest.mark.parametrize("damage", ["removed", "cut", "changed", "removed with its folder"])
def test_a_file_of_an_older_checkpoint_that_is_no_more_what_it_was_is_not_shared(tmp_path, damage):
    log = Log([page(0), page(1)])
    log.save_to_path(tmp_path / "1")
    log.add(page(2))
    victim = tmp_path / "1" / "state-1.safetensors"
    if damage == "removed":
        victim.unlink()
    elif damage == "cut":
        victim.write_bytes(victim.read_bytes()[:-2])
    elif damage == "changed":
        victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    else:
        shutil.rmtree(tmp_path / "1")
    log.save_to_path(tmp_path / "2")
    assert pages_at(tmp_path / "2") == [[float(k)] * 3 for k in range(3)]
    with pytest.raises(CheckpointError, match=r"state-1\.safetensors|no checkpoint"):
        Log.from_checkpoint(tmp_path / "1", classes=[Log])


@pytest.mark.parametrize("error", [OSError(errno.EPERM, "Operation not permitted"), NotImplementedError("no linkat")])
def test_where_there_are_no_hard_links_files_are_copied_which_is_said_once(tmp_path, monkeypatch, caplog, error):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(segments, "_without_links", set())
    log = Log([page(0), page(1)])
    with caplog.at_level(logging.WARNING):
        for name in "123":
            log.save_to_path(tmp_path / name)
    assert [record.getMessage() for record in caplog.records if "hard links" in record.getMessage()] == [
        f"the file system of {tmp_path} has no hard links: every checkpoint copies what it shares with earlier ones, "
        "replay buffers above all; checkpointing(replay='last') keeps them in the newest alone"
    ]
    inodes = {(tmp_path / name / "state-0.safetensors").stat().st_ino for name in "123"}
    assert len(inodes) == 3
    shutil.rmtree(tmp_path / "1")
    shutil.rmtree(tmp_path / "2")
    assert pages_at(tmp_path / "3") == [[0.0] * 3, [1.0] * 3]


def test_what_was_checked_a_moment_ago_is_hashed_once(tmp_path, monkeypatch):
    run = tmp_path / "run"
    path = run / "checkpoints" / "000001"
    Log([page(0)]).save_to_path(path)
    file = path / "state-0.safetensors"
    hashed = []
    check = arrays._check_hash

    def noted(digest, wanted, path):
        hashed.append((path.name, wanted))
        check(digest, wanted, path)

    monkeypatch.setattr(arrays, "_check_hash", noted)

    def hashes():
        hashed.clear()
        snapshot, _ = read_snapshot(locate(run))
        snapshot.tree.segments[0].tree()
        return [wanted is not None for name, wanted in hashed if name == file.name]

    assert hashes() == [True]  # written just now: it may change within a tick of the clock
    later = time.time_ns() + 10**10
    monkeypatch.setattr(time, "time_ns", lambda: later)
    assert hashes() == [False]  # locate() has looked at it
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"state-0\.safetensors is damaged"):
        locate(run)
    snapshot, _ = read_snapshot(path)
    with pytest.raises(CheckpointError, match=r"state-0\.safetensors is damaged"):
        snapshot.tree.segments[0].tree()


def test_one_who_copies_gets_views_of_a_large_segment(tmp_path):
    log = Log([{"x": torch.randn(600_000)}])
    path = tmp_path / "1"
    log.save_to_path(path)
    file = path / "state-0.safetensors"
    segment = read_snapshot(path)[0].tree.segments[0]
    for to_copy in (False, True):
        tree = segment.tree(to_copy=to_copy)
        assert torch.equal(tree["x"], log.pages[0]["x"])
        with open("/proc/self/maps") as maps:
            assert any(str(file) in line for line in maps) == to_copy
        del tree
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    for to_copy in (False, True):
        with pytest.raises(CheckpointError, match="SHA-256"):
            segment.tree(to_copy=to_copy)
    segment.comes_from(lambda: 1)
    assert segment.tree(to_copy=True) == 1
