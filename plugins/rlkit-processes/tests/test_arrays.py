"""Arrays on their way: codec, segments, published arrays."""

from __future__ import annotations

import gc
import os
import signal
import socket

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rlkit_core.errors import ActorError
from rlkit_core.execution import LocalPublished
from rlkit_core.execution.conformance import Probe
from rlkit_processes import ProcessExecutor
from rlkit_processes.channel import INLINE, Channel
from rlkit_processes.codec import COPY_BELOW, encode, from_bytes, to_bytes
from rlkit_processes.published import PublishedArrays
from rlkit_processes.segments import HEADER, MAX_FREE, MAX_LOANS, OutPool, size_class

LARGE = COPY_BELOW  # bytes


@pytest.fixture
def ends():
    sockets = socket.socketpair()
    channels = [Channel(sock) for sock in sockets]
    yield channels
    for channel in channels:
        channel.close()


def pass_on(ends, content):
    sender, receiver = ends
    sender.send(sender.pack(1, 0, content))
    return receiver.receive().load()


# -------------------------------------------------------------------------------------------------------------- codec

leaves = hnp.arrays(
    st.one_of(
        hnp.boolean_dtypes(),
        hnp.integer_dtypes(),
        hnp.floating_dtypes(),
        hnp.complex_number_dtypes(),
        hnp.datetime64_dtypes(),
        hnp.unicode_string_dtypes(max_len=3),
    ),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
layouts = st.sampled_from([lambda a: a, lambda a: a.T, lambda a: a[..., ::-1] if a.ndim else a])
structures = st.recursive(
    st.builds(lambda a, f: f(a), leaves, layouts),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=6,
)


def same(a, b):
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()
        assert b.flags.writeable
        assert b.flags.aligned
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    else:
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)


@settings(max_examples=60, deadline=None)
@given(structures)
def test_any_structure_of_arrays_survives(structure):
    same(structure, from_bytes(*to_bytes(structure)))


def test_array_bytes_are_never_in_the_message():
    arrays = {
        "numpy": np.zeros(10**6),
        "f": np.zeros((1000, 999)).T,
        "torch": torch.zeros(10**6),
        "b": [np.ones(9)],
    }
    message = encode(arrays)
    assert len(message.structure) < 500
    assert message.nbytes >= 8 * 10**6 + 8 * 999_000 + 4 * 10**6 + 9 * 8


def test_modules_and_optimizers_travel():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    again = from_bytes(*to_bytes(net))
    x = torch.randn(5, 3)
    assert torch.equal(net(x), again(x))
    assert [p.requires_grad for p in again.parameters()] == [True] * 4
    inside_a_graph = from_bytes(*to_bytes(net(x)))
    assert inside_a_graph.grad_fn is None


# ----------------------------------------------------------------------------------------------------------- segments


def test_large_arrays_are_views_and_small_ones_private(ends):
    small, large = pass_on(ends, (np.ones(LARGE - 8, np.uint8), np.ones(LARGE, np.uint8)))
    assert small.flags.owndata
    assert not large.flags.owndata
    assert large.ctypes.data % 64 == 0
    tensor = pass_on(ends, torch.ones(LARGE))
    assert tensor.sum() == LARGE


def test_a_segment_is_used_again_when_its_views_are_gone(ends):
    sender, receiver = ends
    for k in range(50):
        got = pass_on(ends, np.full(LARGE + 7 * k, k, np.uint8))
        assert got.min() == got.max() == k
        del got
    assert len(sender._out) == len(receiver._in) == 1


def test_a_view_of_a_view_keeps_the_segment(ends):
    got = pass_on(ends, {"a": np.full((LARGE, 4), 1.0)})["a"]
    corner = torch.from_numpy(got)[1:3].numpy().T[:1]
    del got
    gc.collect()
    for k in range(5):
        pass_on(ends, np.full((LARGE, 4), float(k)))
    assert corner.tolist() == [[1.0, 1.0]]


def test_many_held_results_are_copied_out(ends):
    sender, receiver = ends
    held = [pass_on(ends, np.full(LARGE, k % 256, np.uint8)) for k in range(3 * MAX_LOANS)]
    assert receiver._in.loans == MAX_LOANS
    assert len(sender._out) <= MAX_LOANS + 1
    assert [int(array[-1]) for array in held] == [k % 256 for k in range(3 * MAX_LOANS)]
    held.clear()
    assert receiver._in.loans == 0


def test_segments_of_sizes_no_longer_needed_go(ends):
    sender, receiver = ends
    for k in range(20):
        pass_on(ends, np.zeros(LARGE << (k % 10), np.uint8))
    assert len(sender._out) <= MAX_FREE + 1
    assert len(receiver._in) <= MAX_FREE + 1


def test_what_a_message_cannot_hold_goes_into_the_segment(ends):
    for length in (INLINE - 100, INLINE + 100, 10 * INLINE):
        text, array = pass_on(ends, ("x" * length, np.arange(3)))
        assert len(text) == length
        assert array.tolist() == [0, 1, 2]
    assert ends[0]._out.take(10).size >= HEADER + 10


def test_a_failed_pack_takes_no_segment(ends):
    with pytest.raises(TypeError):
        ends[0].pack(1, 0, [np.ones(LARGE), (k for k in range(3))])
    assert len(ends[0]._out) == 0


@given(st.integers(1, 2**34))
def test_size_classes_waste_little(nbytes):
    size = size_class(nbytes)
    assert nbytes <= size <= max(4096, nbytes + nbytes / 7 + 4096)
    assert size % 4096 == 0


def test_no_segment_has_a_name():
    names = set(os.listdir("/dev/shm"))
    pool = OutPool()
    segments = [pool.take(10**6) for _ in range(3)]
    assert len({segment.number for segment in segments}) == 3
    assert not [name for name in set(os.listdir("/dev/shm")) - names if "rlkit" in name]


def test_views_outlive_their_actor():
    with ProcessExecutor() as executor:
        got = executor.spawn(Probe).call("arrays", LARGE, 3.0).result(30)["a"]
    gc.collect()
    assert got.sum() == 3.0 * LARGE


# ---------------------------------------------------------------------------------------------------- published arrays


class Reader:
    def __init__(self, place):
        self.place = place

    def check(self, until):
        """Read until a version comes; count readings, and those in which elements differ."""
        readings, torn, versions = 0, 0, []
        while True:
            version, content = self.place.read()
            readings += 1
            torn += any(array.min() != version or array.max() != version for array in content.values())
            versions.append(version)
            if version >= until:
                return readings, torn, versions == sorted(versions)


def test_no_reader_sees_half_an_update():
    with ProcessExecutor() as executor:
        place = executor.published()
        place.publish(0, {"a": np.zeros(60_000)})
        readers = [executor.spawn(Reader, place) for _ in range(2)]
        for reader in readers:
            reader.ready.result(30)
        last = 100
        futures = [reader.call("check", last) for reader in readers]
        for version in range(1, last + 1):
            # sizes change, so slots move while they are read
            content = {"a": np.full(60_000, float(version)), "b": np.full(version * 100, float(version))}
            place.publish(version, content)
        for future in futures:
            readings, torn, in_order = future.result(60)
            assert torn == 0
            assert in_order
            assert readings >= 1


def test_versions_may_go_back_and_readings_are_private():
    place = PublishedArrays()
    place.publish(7, torch.ones(3))
    assert place.read(7) is None
    version, first = place.read(3)
    first += 1
    place.publish(2, torch.zeros(3))
    assert place.version == 2
    assert place.read(7)[1].tolist() == [0, 0, 0]
    assert (version, first.tolist()) == (7, [2, 2, 2])


def test_a_snapshot_in_this_process_keeps_functions_and_classes():
    class Weights:
        def __init__(self, array):
            self.array = array

        def total(self):
            return self.array.sum()

    total, place, inner = Weights.total, LocalPublished(), PublishedArrays()
    weights = Weights(torch.ones(3))
    place.publish(1, {"w": weights, "f": total, "inner": inner})
    weights.array += 1
    got = place.read()[1]
    assert type(got["w"]) is Weights
    assert Weights.total is total is got["f"]
    assert got["w"].total() == 3
    assert got["inner"] is inner
    with pytest.raises(TypeError, match="cannot hold published arrays"):
        inner.publish(1, {"inner": PublishedArrays()})
    assert inner.version is None


def test_only_its_maker_publishes():
    with ProcessExecutor() as executor:
        actor, place = executor.spawn(Probe), executor.published()
        with pytest.raises(ActorError, match="only by the process that made them"):
            actor.call(lambda probe, place: place.publish(1, 2), place).result(30)


def test_growing_does_not_waste_without_end():
    place = PublishedArrays()
    for version in range(200):
        place.publish(version, np.ones(1000 + version))
    assert os.fstat(place.fd).st_size < 20 * 8 * 1200


class Mirror:
    """Gives back what it gets."""

    def show(self, array):
        return array


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors are counted by /proc")
def test_killed_actors_leave_no_descriptor_and_their_arrays_stay():
    big = np.ones(100_000)
    with ProcessExecutor() as executor:
        actor = executor.spawn(Mirror)
        kept = actor.call("show", big).result()
        before = None
        for _ in range(3):
            assert np.array_equal(actor.call("show", big).result(), big)
            os.kill(actor.pid, signal.SIGKILL)
            assert actor.call("show", big).exception() is not None
            actor = executor.restart(actor)
            actor.ready.result()
            there = len(os.listdir("/proc/self/fd"))
            before = before or there
            assert there == before
        assert np.array_equal(kept, big)
