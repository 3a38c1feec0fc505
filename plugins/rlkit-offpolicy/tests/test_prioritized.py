"""The prioritised buffer: frequencies, weights, and which rows can be drawn at all."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.errors import ConfigError, NonFiniteError
from rlkit_offpolicy import PrioritizedReplayBuffer, sequence_priorities

sys.path.insert(0, str(Path(__file__).parent))
from replay_streams import Streams, expected

ALPHA, EPSILON = 0.7, 1e-6


def filled(steps=40, envs=2, same_step=True, **kwargs):
    buffer = PrioritizedReplayBuffer(steps * envs, alpha=ALPHA, seed=3, **kwargs)
    streams = Streams(envs, same_step, 5)
    buffer.add(streams.rollout(steps))
    return buffer, streams


def test_rows_are_drawn_in_proportion_to_their_priorities():
    buffer, _ = filled()
    priorities = torch.rand(80, generator=torch.Generator().manual_seed(1)) * 3
    buffer.update_priorities(-priorities, torch.arange(80))  # a TD error may be negative
    counts = np.zeros(80)
    for _ in range(400):
        buffer.sample(37)
        counts += np.bincount(buffer.last_indices.numpy(), minlength=80)
    mass = (priorities.double().numpy() + EPSILON) ** ALPHA
    wanted = counts.sum() * mass / mass.sum()
    # 79 degrees of freedom: chi-square exceeds 123 with a probability of 0.1 % (less, since draws are stratified).
    assert ((counts - wanted) ** 2 / wanted).sum() < 123
    assert np.corrcoef(counts, wanted)[0, 1] > 0.99


def test_stratified_draws_take_every_row_whose_share_is_a_stratum():
    buffer, _ = filled()
    for _ in range(5):
        buffer.sample(80)  # 80 strata over 80 equal priorities
        assert sorted(buffer.last_indices.tolist()) == list(range(80))
    buffer.sample(40, num_batches=2)  # each of the batches goes through all priorities
    for half in buffer.last_indices.view(2, 40):
        assert sorted((half // 2).tolist()) == list(range(40))


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_importance_weights(beta):
    buffer, _ = filled()
    priorities = torch.linspace(0.1, 4.0, 80)
    buffer.update_priorities(priorities, torch.arange(80))
    batch = buffer.sample(64, beta=beta)
    mass = (priorities.double() + EPSILON) ** ALPHA
    probability = (mass / mass.sum())[buffer.last_indices]
    weights = (80 * probability) ** -beta
    torch.testing.assert_close(batch["weights"], (weights / weights.max()).float())


def test_new_steps_have_the_highest_priority():
    buffer, streams = filled()
    buffer.update_priorities(torch.full((80,), 1e-4), torch.arange(80))
    buffer.update_priorities(torch.tensor([50.0]), torch.tensor([79]))
    buffer.update_priorities(torch.tensor([1e-4]), torch.tensor([79]))
    buffer.add(streams.rollout(1))
    buffer.sample(200)
    assert (buffer.last_indices >= 80).float().mean() > 0.95
    assert buffer.get_metrics()["max_priority"] == pytest.approx(50.0, rel=1e-6)


def test_the_last_of_two_priorities_of_one_row_counts():
    buffer, _ = filled()
    buffer.update_priorities(torch.zeros(80), torch.arange(80))
    buffer.update_priorities(torch.tensor([5.0, 0.0, 1.0]), torch.tensor([4, 4, 9]))
    buffer.sample(300)
    assert (buffer.last_indices == 9).float().mean() > 0.95


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    envs=st.integers(1, 3),
    same_step=st.booleans(),
    lengths=st.lists(st.integers(1, 6), min_size=2, max_size=10),
)
def test_only_living_rows_are_drawn_whatever_is_updated(seed, envs, same_step, lengths):
    streams = Streams(envs, same_step, seed)
    buffer = PrioritizedReplayBuffer(8 * envs, n_step=(1, 3), gamma=0.9, seed=seed)
    rng = np.random.default_rng(seed)
    old = []
    for length in lengths:
        buffer.add(streams.rollout(length))
        total = len(streams.steps[0])
        alive = {
            t * envs + n for t in range(max(0, total - 8), total) for n in range(envs) if streams.steps[n][t].experience
        }
        if not alive:
            continue
        for indices in old:  # rows overwritten since, and rows that became the head
            buffer.update_priorities(torch.from_numpy(rng.random(len(indices)) * 100), indices)
        batch = buffer.sample(48)
        assert set(buffer.last_indices.tolist()) <= alive
        old.append(buffer.last_indices)
        for i, number in enumerate(buffer.last_indices.tolist()):
            window = streams.window(number, int(batch["n_step"][i]))
            reward, discount, _ = expected(window, 0.9)
            assert float(batch["rewards"][i]) == pytest.approx(reward, abs=1e-5)
            assert float(batch["discount"][i]) == pytest.approx(discount, abs=1e-6)


def test_rows_that_are_gone_or_no_experience_get_no_priority():
    buffer, streams = filled(same_step=False)
    for _ in range(2):
        buffer.add(streams.rollout(20))  # all of the first 80 rows are overwritten
    before = buffer.get_state()["priorities"]
    buffer.update_priorities(torch.full((80,), 9.0), torch.arange(80))
    assert torch.equal(buffer.get_state()["priorities"], before)
    buffer.update_priorities(torch.full((80,), 9.0), torch.arange(80, 160))
    buffer.sample(200)
    assert buffer_valid(streams)[buffer.last_indices].all()


def test_a_continued_buffer_samples_what_the_first_would_have():
    buffer, streams = filled(same_step=False)
    buffer.update_priorities(torch.rand(len(buffer)), torch.arange(80)[buffer_valid(streams)])
    other = PrioritizedReplayBuffer(80, alpha=ALPHA, seed=99)
    other.set_state(buffer.get_state())
    more = streams.rollout(7)
    for each in (buffer, other):
        each.add(more)
    ours, theirs = buffer.sample(32, beta=0.7), other.sample(32, beta=0.7)
    assert torch.equal(buffer.last_indices, other.last_indices)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert buffer.get_metrics() == other.get_metrics()


def buffer_valid(streams):
    return torch.tensor([[s.experience for s in steps] for steps in streams.steps]).t().reshape(-1)


def test_sequences_are_drawn_by_the_priority_of_their_first_step():
    streams = Streams(1, True, 4, recurrent=4, end=0.1)
    buffer = PrioritizedReplayBuffer(100, alpha=1.0, seed=0)
    buffer.add(streams.rollout(100))
    buffer.update_priorities(torch.zeros(100), torch.arange(100))
    buffer.update_priorities(torch.tensor([3.0, 1.0]), torch.tensor([8, 40]))
    batch = buffer.sample(40, seq_len=4, beta=1.0)
    assert set(buffer.last_indices.tolist()) == {8, 40}
    assert int((buffer.last_indices == 8).sum()) == 30
    weights = torch.where(buffer.last_indices == 8, 1 / 3, 1.0)
    torch.testing.assert_close(batch["weights"], weights.unsqueeze(-1).expand(40, 4), rtol=1e-4, atol=1e-4)
    errors = torch.tensor([[1.0, -3.0, 100.0]])
    mask = torch.tensor([[True, True, False]])
    assert sequence_priorities(errors, mask).tolist() == pytest.approx([0.9 * 3 + 0.1 * 2])


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="alpha"):
        PrioritizedReplayBuffer(10, alpha=-1.0)
    with pytest.raises(ConfigError, match="epsilon"):
        PrioritizedReplayBuffer(10, epsilon=0.0)
    buffer, _ = filled()
    with pytest.raises(ConfigError, match="nothing has been sampled"):
        buffer.update_priorities(torch.ones(3))
    buffer.sample(4)
    with pytest.raises(ConfigError, match="one for each row"):
        buffer.update_priorities(torch.ones(3))
    with pytest.raises(NonFiniteError, match="1 of 4"):
        buffer.update_priorities(torch.tensor([1.0, float("nan"), 1.0, 1.0]))
