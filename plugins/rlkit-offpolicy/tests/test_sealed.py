"""Buffers in checkpoints: rows that are complete stand in segments, written once and shared."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.checkpoint import Checkpointable, arrays, files
from rlkit_core.errors import CheckpointError
from rlkit_offpolicy import PrioritizedReplayBuffer, ReplayBuffer
from rlkit_offpolicy.replay import sealed

sys.path.insert(0, str(Path(__file__).parent))
from replay_streams import Streams


class Saved(Checkpointable):
    """A buffer as a checkpoint of its own."""

    def __init__(self, buffer=None):
        self.buffer = buffer

    def get_state(self, components=None, *, not_components=None, **kwargs):
        return self.buffer.get_state()

    def get_state_to_save(self, not_components=()):
        return self.buffer.get_state_to_save()

    def set_state(self, state):
        self.buffer.set_state(state)

    def get_ctor_args_and_kwargs(self):
        return (), {}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Segments of a few rows."""
    monkeypatch.setattr(sealed, "SEGMENT_BYTES", 1000)


def segments(path):
    return sorted(Path(path).glob("state-*.safetensors"), key=lambda file: int(file.stem.partition("-")[2]))


def assert_same(one, other, streams, rounds=3, **how):
    for _ in range(rounds):
        rollout = streams.rollout(5)
        for buffer in (one, other):
            buffer.add(rollout)
        ours, theirs = one.sample(16, **how), other.sample(16, **how)
        assert torch.equal(one.last_indices, other.last_indices)
        for name in ours:
            pairs = [(ours[name], theirs[name])] if name != "state_in" else [(ours[name]["h"], theirs[name]["h"])]
            assert all(torch.equal(a, b) for a, b in pairs), name
        if isinstance(one, PrioritizedReplayBuffer):
            for buffer in (one, other):
                buffer.update_priorities(torch.arange(16.0))
    assert_equal(one.get_state(), other.get_state())


def assert_equal(one, other, where=""):
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, torch.Tensor):
        assert one.numpy().tobytes() == other.numpy().tobytes(), where
    else:
        assert one == other, where


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from([ReplayBuffer, PrioritizedReplayBuffer]),
    same_step=st.booleans(),
    recurrent=st.sampled_from([None, 4]),
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=10),
    saves=st.sets(st.integers(0, 9)),
)
def test_a_restored_buffer_is_the_one_that_was_saved(
    tmp_path_factory, seed, kind, same_step, recurrent, lengths, saves
):
    """Whenever it was saved before, with files of segments that were overwritten in part, to the last bit."""
    folder = tmp_path_factory.mktemp("buffer")
    streams = Streams(2, same_step, seed, recurrent=recurrent)
    buffer, plain = (kind(120, n_step=3, seed=1) for _ in range(2))
    for k, length in enumerate(lengths):
        rollout = streams.rollout(length)
        for each in (buffer, plain):
            each.add(rollout)
        if k in saves:
            Saved(buffer).save_to_path(folder / str(k))
    path = Saved(buffer).save_to_path(folder / "last")
    other = kind(120, n_step=3, seed=9)
    Saved(other).restore_from_path(path)
    assert_equal(buffer.get_state(), plain.get_state())
    assert_equal(other.get_state(), plain.get_state())
    assert_same(plain, other, streams, **({"seq_len": 3, "burn_in": 1} if recurrent else {}))
    # What the restored one saves next, linked to what it came from, is what the other one saves as a whole.
    for one, name in ((other, "again"), (plain, "whole")):
        third = kind(120, n_step=3, seed=7)
        Saved(third).restore_from_path(Saved(one).save_to_path(folder / name))
        assert_equal(third.get_state(), plain.get_state())


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.one_of(st.integers(1, 4), st.integers(1, 90), st.just(1)), min_size=1, max_size=150),
    capacity=st.sampled_from([60, 1000, 100_000]),
)
def test_few_segments_and_few_rows_written_again(lengths, capacity):
    """However saves fall: all rows but the newest are in segments, new ones at most; carried as digits are."""
    streams, full, written, seen = Streams(1, True, 0), 64, 0, {}
    buffer = ReplayBuffer(max(capacity, 90), seed=1)
    with pytest.MonkeyPatch.context() as patch:
        for length in lengths:
            buffer.add(streams.rollout(length))
            storage = buffer._storage
            patch.setattr(sealed, "SEGMENT_BYTES", full * sealed._row_bytes(storage))
            entries = buffer.get_state_to_save()["segments"]
            spans = [(one["first"], one["last"]) for one in entries]
            if not spans:
                assert storage.total == 1
                continue
            assert spans[0][0] <= storage.oldest
            assert spans[-1][1] == storage.total - 1
            assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
            ranks = [sealed._rank(b - a, full) for a, b in spans]
            assert all(a <= b for a, b in itertools.pairwise(ranks[1:]))
            assert sum(rank > 0 for rank in ranks) <= 1 + (sealed.FAN_IN - 1) * sealed.RANKS
            assert all(b - a < 2 * full or a == spans[0][0] for a, b in spans)
            written += sum(b - a for (a, b), one in zip(spans, entries, strict=True) if id(one["segment"]) not in seen)
            seen.update({id(one["segment"]): one["segment"] for one in entries})
            again = buffer.get_state_to_save()["segments"]
            assert [one["segment"] for one in again] == [one["segment"] for one in entries]
    assert written <= (sealed.RANKS + 1) * storage.total


def test_a_save_writes_what_is_new(tmp_path, monkeypatch):
    streams = Streams(2, True, 3)
    buffer = ReplayBuffer(2000, seed=1)
    buffer.add(streams.rollout(300))
    first = Saved(buffer).save_to_path(tmp_path / "1")
    written, hashed = [], []
    true, write = files.sha256_of, arrays.write_tensors
    monkeypatch.setattr(files, "sha256_of", lambda path: hashed.append(path.name) or true(path))
    monkeypatch.setattr(arrays, "write_tensors", lambda path, *of: written.append(path.name) or write(path, *of))
    buffer.add(streams.rollout(40))
    second = Saved(buffer).save_to_path(tmp_path / "2")
    old, new = segments(first), segments(second)
    assert 5 < len(old) < len(new)
    for one, other in zip(old, new, strict=False):
        assert os.path.samefile(one, other)
    fresh = [name for name in written if name.startswith("state-")]
    assert fresh == [path.name for path in new[len(old) :]]
    assert not hashed  # what is written is hashed on the way, and what is shared never again
    shutil.rmtree(first)  # the second is complete by itself, and so is what follows
    third = Saved(buffer).save_to_path(tmp_path / "3")
    assert all(os.path.samefile(a, b) for a, b in zip(segments(second), segments(third), strict=True))
    other = ReplayBuffer(2000, seed=5)
    Saved(other).restore_from_path(third)
    assert_same(buffer, other, streams)


def test_segments_go_with_their_last_row(tmp_path):
    streams = Streams(2, True, 3)
    buffer = ReplayBuffer(200, seed=1)
    for k in range(30):
        buffer.add(streams.rollout(20))
        path = Saved(buffer).save_to_path(tmp_path / "checkpoint")
    assert len(segments(path)) <= 2 + 100 // (1000 // sealed._row_bytes(buffer._storage))


@pytest.mark.parametrize("links", [True, False])
def test_files_that_went_and_file_systems_without_links(tmp_path, monkeypatch, links):
    if not links:

        def refuse(*args, **kwargs):
            raise OSError("no links here")

        monkeypatch.setattr(os, "link", refuse)
    streams = Streams(2, True, 3)
    buffer = ReplayBuffer(200, seed=1)
    buffer.add(streams.rollout(90))
    first = Saved(buffer).save_to_path(tmp_path / "1")
    buffer.add(streams.rollout(33))  # the oldest segments are overwritten, one of them in part
    if links:
        shutil.rmtree(first)
    else:
        before = [path.stat().st_ino for path in segments(first)]
        path = Saved(buffer).save_to_path(tmp_path / "2")
        assert not {path.stat().st_ino for path in segments(path)} & set(before)
    path = Saved(buffer).save_to_path(tmp_path / "3")
    other = ReplayBuffer(200, seed=5)
    Saved(other).restore_from_path(path)
    assert_same(buffer, other, streams)


def test_a_file_that_somebody_wrote_to_is_not_shared(tmp_path):
    streams = Streams(2, True, 3)
    buffer = ReplayBuffer(2000, seed=1)
    buffer.add(streams.rollout(300))
    first = Saved(buffer).save_to_path(tmp_path / "1")
    victim = segments(first)[2]
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(bytes(data))
    path = Saved(buffer).save_to_path(tmp_path / "2")
    other = ReplayBuffer(2000, seed=5)
    Saved(other).restore_from_path(path)
    assert_same(buffer, other, streams)
    with pytest.raises(CheckpointError, match=rf"{victim.name} is damaged: its SHA-256"):
        Saved(ReplayBuffer(2000)).restore_from_path(first)


@pytest.mark.parametrize("damage", ["missing", "short", "link", "swapped", "count", "number"])
def test_damaged_segments_are_refused(tmp_path, damage):
    streams = Streams(2, True, 3)
    buffer = ReplayBuffer(2000, seed=1)
    buffer.add(streams.rollout(300))
    path = Path(Saved(buffer).save_to_path(tmp_path / "1"))
    one, two = segments(path)[:2]
    metadata = path / "metadata.json"
    if damage == "missing":
        one.unlink()
    elif damage == "short":
        one.write_bytes(one.read_bytes()[:-3])
    elif damage == "link":
        one.rename(tmp_path / "elsewhere")
        one.symlink_to(tmp_path / "elsewhere")
    elif damage == "swapped":
        first, second = one.read_bytes(), two.read_bytes()
        one.unlink()
        two.unlink()
        one.write_bytes(second)
        two.write_bytes(first)
    elif damage == "count":
        metadata.write_text(metadata.read_text().replace('"segments": ', '"segments": 999'))
    else:
        metadata.write_text(metadata.read_text().replace('"segments": ', '"segments": -'))
    other = ReplayBuffer(2000, seed=2)
    other.add(streams.rollout(3))
    before = other.get_state()
    with pytest.raises(CheckpointError, match=r"state-|segments"):
        Saved(other).restore_from_path(path)
    assert_equal(other.get_state(), before)
    assert np.isfinite(before["num_env_steps_added_lifetime"])
