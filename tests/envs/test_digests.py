"""The running number over what envs show: the same however steps are cut, another where anything differs."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.envs.resume.digests import RunningDigests, shown
from rlkit_core.spaces import nested_map

ENVS = 3


def played(rng, steps, kind):
    """Observations, the first ones, rewards and dones of random episodes."""
    obs = {
        "flat": rng.normal(size=(steps + 1, ENVS, 3)).astype(np.float32),
        "whole": rng.integers(0, 255, (steps + 1, ENVS, 4, 4)).astype(np.uint8),
        "nested": {
            "n": rng.integers(0, 5, (steps + 1, ENVS)),
            "x": (rng.normal(size=(steps + 1, ENVS, 1)), np.zeros((steps + 1, ENVS, 0))),
        },
    }[kind]
    rewards = rng.normal(size=(steps, ENVS)).astype(np.float32)
    return obs, rewards, rng.random((steps, ENVS)) < 0.15


def digests(obs, rewards, dones, cuts):
    running = RunningDigests(ENVS)
    running.begin(nested_map(lambda x: x[0], obs))
    length = np.zeros(ENVS, np.int64)
    for start, stop in zip([0, *cuts], [*cuts, len(rewards)], strict=True):
        ends = running.add(nested_map(lambda x: x[start + 1 : stop + 1], obs), rewards[start:stop], dones[start:stop])
        length += stop - start
        if ends is not None:
            length = np.where(ends[0], ends[1], length)
    return running.values, length


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 150),
    kind=st.sampled_from(["flat", "whole", "nested"]),
    data=st.data(),
)
def test_it_does_not_matter_how_steps_are_cut(seed, steps, kind, data) -> None:
    obs, rewards, dones = played(np.random.default_rng(seed), steps, kind)
    cuts = sorted(data.draw(st.lists(st.integers(1, steps), max_size=4, unique=True)))
    cuts = [cut for cut in cuts if cut < steps]
    whole, lengths = digests(obs, rewards, dones, [])
    pieces, same_lengths = digests(obs, rewards, dones, cuts)
    assert whole.tolist() == pieces.tolist()
    assert lengths.tolist() == same_lengths.tolist()
    for n in range(ENVS):
        ended = np.flatnonzero(dones[:, n])
        begun = ended[-1] + 1 if len(ended) else 0
        assert lengths[n] == steps - begun
        alone = RunningDigests(1)
        alone.begin(nested_map(lambda x: x[begun, n : n + 1], obs))
        if begun < steps:
            part = nested_map(lambda x: x[begun + 1 :, n : n + 1], obs)
            alone.add(part, rewards[begun:, n : n + 1], dones[begun:, n : n + 1])
        assert alone.values[0] == whole[n]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(2, 80), data=st.data())
def test_any_bit_counts_and_so_does_the_order(seed, steps, data) -> None:
    obs, rewards, dones = played(np.random.default_rng(seed), steps, "flat")
    dones[:] = False
    before, _ = digests(obs, rewards, dones, [])
    t, n = data.draw(st.integers(0, steps - 1)), data.draw(st.integers(0, ENVS - 1))
    what = data.draw(st.sampled_from(["observation", "reward", "order"]))
    obs, rewards = obs.copy(), rewards.copy()
    if what == "observation":
        obs[t, n, 0] = np.nextafter(obs[t, n, 0], np.float32(9))
    elif what == "reward":
        rewards[t, n] = np.nextafter(rewards[t, n], np.float32(9))
    else:
        obs[[t, t + 1], n] = obs[[t + 1, t], n]
    after, _ = digests(obs, rewards, dones, [])
    assert [k for k in range(ENVS) if before[k] != after[k]] == [n]


def test_what_has_no_array_counts_too() -> None:
    def rows(*values):
        array = np.empty((1, len(values)), object)
        for k, value in enumerate(values):
            array[0, k] = value
        return array

    x = np.arange(3, dtype=np.float32)
    numbers = shown(rows("ab", "ba", ("a", "b"), (x, x), (x, x + 1), {"k": x}, {"j": x}, x.reshape(3, 1), x))
    assert len(set(numbers[0].tolist())) == 9
    assert (
        numbers.tolist()
        == shown(rows("ab", "ba", ("a", "b"), (x, x), (x, x + 1), {"k": x}, {"j": x}, x.reshape(3, 1), x)).tolist()
    )
