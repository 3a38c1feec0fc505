"""Sequences of the buffer against steps that are kept one by one."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.data import Rollout
from rlkit_core.errors import ConfigError
from rlkit_offpolicy import ReplayBuffer, with_successor

sys.path.insert(0, str(Path(__file__).parent))
from replay_streams import Streams, expected

INITIAL = {"h": torch.tensor([0.25])}


def check_sequences(buffer, batch, streams, length, burn_in, n_step):
    observed = with_successor(batch["obs"], batch["new_obs"], batch["seq_lens"])
    for b, number in enumerate(buffer.last_indices.tolist()):
        steps = streams.window(number, length)
        real = len(steps)
        first = steps[0]
        begins = first.first and first.experience
        assert int(batch["seq_lens"][b]) == real
        assert begins or real > burn_in
        mask = [t < real and (begins or t >= burn_in) for t in range(length)]
        assert batch["loss_mask"][b].tolist() == mask
        assert float(batch["state_in"]["h"][b]) == (0.25 if begins else first.obs + 0.5)
        assert batch["obs"][b, :real, 0].tolist() == [step.obs for step in steps]
        assert batch["actions"][b, :real].tolist() == [step.action for step in steps]
        assert torch.equal(observed[b, :real], batch["obs"][b, :real])
        for t in range(real):
            window = streams.window(number + t * streams.num_envs, n_step, limit=real - t)
            reward, discount, successor = expected(window, 0.9)
            assert int(batch["n_step"][b, t]) == len(window)
            assert float(batch["rewards"][b, t]) == pytest.approx(reward, abs=1e-5)
            assert float(batch["discount"][b, t]) == pytest.approx(discount, abs=1e-6)
            if not window[-1].terminated:
                assert float(batch["new_obs"][b, t]) == successor
                assert float(observed[b, t + len(window)]) == successor  # one pass over L + 1 steps has them all
        for t in range(real, length):  # padding
            assert torch.equal(batch["obs"][b, t], batch["obs"][b, real - 1])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    envs=st.integers(1, 3),
    same_step=st.booleans(),
    seq_len=st.integers(1, 6),
    burn_in=st.integers(0, 4),
    n_step=st.sampled_from([1, 3]),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=10),
    resets=st.sets(st.integers(1, 9), max_size=2),
)
def test_sequences_are_the_steps_that_happened(seed, envs, same_step, seq_len, burn_in, n_step, lengths, resets):
    streams = Streams(envs, same_step, seed, recurrent=3, end=0.15)
    buffer = ReplayBuffer(20 * envs, n_step=n_step, gamma=0.9, seed=1)
    for k, length in enumerate(lengths):
        if k in resets:
            streams.reset()
        buffer.add(streams.rollout(length))
        with suppress(ConfigError):  # too few steps for this burn_in
            batch = buffer.sample(16, seq_len=seq_len, burn_in=burn_in, initial_state=INITIAL)
            check_sequences(buffer, batch, streams, seq_len + burn_in, burn_in, n_step)


@pytest.mark.parametrize("same_step", [True, False])
@pytest.mark.parametrize("burn_in", [0, 3])
def test_every_step_is_trained_on(same_step, burn_in):
    streams = Streams(2, same_step, 8, recurrent=5, end=0.1)
    buffer = ReplayBuffer(120, seed=0)
    for _ in range(4):
        buffer.add(streams.rollout(15))
    trained = set()
    for _ in range(40):
        batch = buffer.sample(32, seq_len=5, burn_in=burn_in)
        trained |= set(batch["obs"][batch["loss_mask"]].reshape(-1).tolist())
    # The newest steps have no step after them that a burn-in could lead to, but they are reached all the same.
    assert trained == {step.obs for steps in streams.steps for step in steps if step.experience}


def test_without_stored_states_a_sequence_begins_anywhere():
    streams = Streams(2, False, 8, end=0.1)
    buffer = ReplayBuffer(60, seed=0)
    buffer.add(streams.rollout(30))
    batch = buffer.sample(200, seq_len=4)
    assert "state_in" not in batch
    experience = {step.obs for steps in streams.steps for step in steps if step.experience}
    assert set(batch["obs"][:, 0, 0].tolist()) == experience


def test_zeros_stand_in_for_an_initial_state():
    streams = Streams(1, True, 8, recurrent=4)
    buffer = ReplayBuffer(30, seed=0)
    buffer.add(streams.rollout(30))
    batch = buffer.sample(100, seq_len=3)
    firsts = [streams.window(number, 1)[0].first for number in buffer.last_indices.tolist()]
    assert any(firsts)
    assert not all(firsts)
    assert batch["state_in"]["h"][torch.tensor(firsts)].eq(0.0).all()
    assert batch["state_in"]["h"][~torch.tensor(firsts)].gt(0.0).all()


def test_a_fresh_runner_among_several_does_not_begin_the_episodes_of_the_others():
    fresh, going = (Streams(1, True, seed, recurrent=4, end=0.0) for seed in (1, 2))
    going.counter = 1000.0  # observations that the other stream does not use
    going.obs = [1000.0]
    buffer = ReplayBuffer(32, seed=0)
    for k in range(2):
        if k == 1:
            fresh.reset()
        buffer.add(Rollout.concat([fresh.rollout(8), going.rollout(8)]))
    batch = buffer.sample(200, seq_len=4, burn_in=2, initial_state=INITIAL)
    firsts = {}
    for b, number in enumerate(buffer.last_indices.tolist()):
        firsts[divmod(number, 2)] = float(batch["state_in"]["h"][b])
    assert firsts[8, 0] == 0.25
    assert firsts[8, 1] == going.steps[0][8].obs + 0.5
    assert not batch["loss_mask"][buffer.last_indices == 17][:, :2].any()
    assert batch["loss_mask"][buffer.last_indices == 16][:, :2].all()
