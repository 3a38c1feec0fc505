"""The sum tree against a plain array."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_offpolicy.replay.sum_tree import SumTree


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 3000), changes=st.integers(1, 6))
def test_finds_what_a_running_sum_finds(seed, size, changes):
    rng = np.random.default_rng(seed)
    tree, plain = SumTree(size), np.zeros(size)
    for _ in range(changes):
        places = rng.integers(0, size, 20)  # with duplicates: the last one counts
        values = rng.integers(0, 9, 20).astype(float)
        tree.set(places, values)
        for place, value in zip(places, values, strict=True):
            plain[place] = value
        start = int(rng.integers(0, size))
        stop = int(rng.integers(start, size)) + 1
        block = rng.integers(0, 3, stop - start).astype(float)
        tree.set_range(start, stop, block)
        plain[start:stop] = block
    np.testing.assert_array_equal(tree.leaves, plain)
    assert tree.total == plain.sum()
    if not plain.any():
        return
    # The numbers are integers, so sums are exact, and every border between two numbers can be hit.
    targets = np.arange(int(plain.sum()))
    found, total = tree.find(targets / plain.sum())
    assert total == plain.sum()
    expected = np.searchsorted(plain.cumsum(), targets / plain.sum() * plain.sum(), side="right")
    np.testing.assert_array_equal(found, expected)


def test_rounding_never_finds_a_zero():
    rng = np.random.default_rng(0)
    for size in (3, 70, 1000, 50_000):
        values = rng.random(size) ** 8 * (rng.random(size) < 0.3)
        values[size // 2] = 1e-3
        values[-1] = values[0] = 0.0
        tree = SumTree(size)
        tree.set_range(0, size, values)
        edges = values.cumsum() / values.sum()
        fractions = np.concatenate((edges[edges < 1.0], [0.0, np.nextafter(1.0, 0.0)], rng.random(1000)))
        assert (tree.leaves[tree.find(fractions)[0]] > 0.0).all()


def test_a_tree_of_a_million():
    tree = SumTree(1_000_000)
    tree.set(np.array([999_999, 123_456]), np.array([1.0, 3.0]))
    np.testing.assert_array_equal(tree.find(np.array([0.0, 0.74, 0.75, 0.99]))[0], [123_456, 123_456, 999_999, 999_999])
