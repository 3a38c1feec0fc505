from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.errors import ConfigError
from rlkit_core.learner.minibatch import minibatches


def batch_of(count):
    return {"x": torch.arange(count), "obs": {"a": torch.arange(count) * 10.0}}


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    epochs=st.integers(1, 4),
    size=st.integers(1, 30),
    shuffle=st.booleans(),
)
def test_exact_sizes_full_coverage_small_modules_cycle(sizes, epochs, size, shuffle):
    batch = {f"m{i}": batch_of(count) for i, count in enumerate(sizes)}
    parts = list(minibatches(batch, num_epochs=epochs, minibatch_size=size, shuffle=shuffle))
    assert len(parts) == -(-max(sizes) * epochs // size)
    for i, count in enumerate(sizes):
        stream = torch.cat([part[f"m{i}"]["x"] for part in parts])
        assert all(len(part[f"m{i}"]["x"]) == size for part in parts)
        for start in range(0, len(stream) - count + 1, count):
            assert sorted(stream[start : start + count].tolist()) == list(range(count))
        nested = torch.cat([part[f"m{i}"]["obs"]["a"] for part in parts])
        assert torch.equal(nested, stream * 10.0)


def test_without_a_size_the_whole_batch_is_one_minibatch():
    parts = list(minibatches({"a": batch_of(5), "b": batch_of(3)}))
    assert len(parts) == 1
    assert len(parts[0]["a"]["x"]) == 5
    assert len(parts[0]["b"]["x"]) == 3


def test_shuffling_changes_the_order_every_epoch_and_one_epoch_too():
    torch.manual_seed(0)
    first, second = (
        torch.cat([p["a"]["x"] for p in minibatches({"a": batch_of(64)}, minibatch_size=16, shuffle=True)])
        for _ in range(2)
    )
    assert not torch.equal(first, second)
    assert not torch.equal(first, torch.arange(64))


def test_a_limit_on_minibatches():
    assert len(list(minibatches({"a": batch_of(9)}, minibatch_size=3, num_epochs=5, num_total_minibatches=4))) == 4


@pytest.mark.parametrize("bad", [{"num_epochs": 0}, {"minibatch_size": 0}])
def test_numbers_must_be_positive(bad):
    with pytest.raises(ConfigError, match="at least 1"):
        list(minibatches({"a": batch_of(3)}, **bad))
