"""Cutting rollouts into sequences, against a plain loop over steps."""

from __future__ import annotations

import itertools

import gymnasium as gym
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core import RLModuleSpec, TorchRLModule
from rlkit_core.data import Rollout
from rlkit_core.data.sequences import ChunkLayout, masked_mean, max_seq_len, num_env_steps, sequence_batch
from rlkit_core.errors import ConfigError
from rlkit_core.learner.minibatch import minibatches
from rlkit_core.learner.values import values_of_rollout


class Summing:
    """A recurrent 'module' whose value is the sum of all observations of the episode so far, initial state 100."""

    def get_initial_state(self):
        return {"sum": torch.full((1,), 100.0)}

    def compute_values(self, batch):
        return batch["state_in"]["sum"] + batch["obs"].cumsum(1)


@st.composite
def rollouts(draw):
    steps, envs, length = draw(st.integers(1, 12)), draw(st.integers(1, 4)), draw(st.integers(1, 6))
    same_step = draw(st.booleans())
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    dones = torch.rand(steps, envs, generator=generator) < 0.3
    terminated = torch.rand(steps, envs, generator=generator) < 0.5
    mask = None
    if not same_step:
        # A reset row follows a done row; nothing ends there.
        for t in range(1, steps):
            dones[t] &= ~dones[t - 1]
        mask = torch.ones_like(dones)
        mask[1:] = ~dones[:-1]
    last = dones if same_step else ~mask
    starts = torch.cat((torch.zeros(1, envs, dtype=torch.bool), last[:-1]))
    obs = torch.randint(1, 9, (steps + 1, envs), generator=generator).float()

    # The plain loop: the sum in each row and the state before it.
    running = torch.randint(0, 50, (envs,), generator=generator).float()
    states, sums = [], []
    for t in range(steps + 1):
        if t:
            running = torch.where(last[t - 1], torch.tensor(100.0), running)
        states.append(running.unsqueeze(-1))
        running = running + obs[t]
        sums.append(running)
    cut = (dones & ~terminated) & same_step
    finals = cut.reshape(-1).nonzero().squeeze(-1)
    rollout = Rollout(
        columns={
            "obs": obs[:-1],
            "step": torch.arange(steps * envs).view(steps, envs),
            "terminateds": dones & terminated,
            "truncateds": dones & ~terminated,
        },
        bootstrap_obs=obs[-1],
        final_obs=torch.full((len(finals),), 1000.0) if len(finals) else None,
        final_index=finals if len(finals) else None,
        loss_mask=mask,
        state_in={"sum": torch.stack(states[:-1:length])},
        seq_len=length,
        episode_starts=starts,
    )
    return rollout, torch.stack(sums), last


@settings(max_examples=200, deadline=None)
@given(rollouts())
def test_every_step_once_in_order_from_its_own_state(drawn):
    rollout, sums, _ = drawn
    layout = ChunkLayout.of(rollout)
    batch = sequence_batch(Summing(), rollout)
    real = layout.real
    assert sorted(batch["step"][real].tolist()) == list(range(rollout.num_steps * rollout.num_envs))
    assert torch.equal(batch["seq_lens"], real.sum(1))
    assert real.shape[1] == min(rollout.seq_len, rollout.num_steps)
    recomputed = Summing().compute_values(batch)
    assert torch.equal(recomputed[real], sums[:-1].reshape(-1)[batch["step"][real]])
    steps = batch["step"]
    for row, length in zip(steps.tolist(), batch["seq_lens"].tolist(), strict=True):
        assert all(b - a == rollout.num_envs for a, b in itertools.pairwise(row[:length]))
        assert set(row[length - 1 :]) == {row[length - 1]}  # padding repeats the last step
    expected_mask = real if rollout.loss_mask is None else real & rollout.loss_mask.reshape(-1)[steps]
    assert torch.equal(batch["loss_mask"], expected_mask)
    assert num_env_steps(batch) == rollout.num_env_steps


@settings(max_examples=200, deadline=None)
@given(rollouts())
def test_values_of_steps_of_what_follows_and_of_final_observations(drawn):
    rollout, sums, last = drawn
    values, last_value, final_values = values_of_rollout(Summing(), rollout)
    assert torch.equal(values, sums[:-1])
    going_on = ~last[-1]
    assert torch.equal(last_value[going_on], sums[-1][going_on])
    if rollout.final_index is None:
        assert final_values is None
    else:
        expected = torch.zeros(values.numel())
        expected[rollout.final_index] = sums[:-1].reshape(-1)[rollout.final_index] + 1000.0
        assert torch.equal(final_values.reshape(-1), expected)


@settings(max_examples=50, deadline=None)
@given(rollouts(), st.integers(1, 20))
def test_minibatches_keep_sequences_whole_and_all_have_one_shape(drawn, size):
    batch = sequence_batch(Summing(), drawn[0])
    chunks, length = batch["step"].shape
    parts = list(minibatches({"m": batch}, minibatch_size=size, num_epochs=2, shuffle=True))
    per = max(1, size // length)
    assert all(part["m"]["step"].shape == (per, length) for part in parts)
    assert all(part["m"]["state_in"]["sum"].shape == (per, 1) for part in parts)
    known = {tuple(row): s for row, s in zip(batch["step"].tolist(), batch["state_in"]["sum"].tolist(), strict=True)}
    for part in parts:
        for row, state in zip(part["m"]["step"].tolist(), part["m"]["state_in"]["sum"].tolist(), strict=True):
            assert known[tuple(row)] == state
    assert len(parts) == -(-chunks * 2 // per)


def test_masked_mean_ignores_what_is_not_real_even_infinities():
    x = torch.tensor([[1.0, 2.0], [3.0, torch.inf]], requires_grad=True)
    mask = torch.tensor([[True, True], [True, False]])
    mean = masked_mean(x, mask)
    mean.backward()
    assert mean.item() == 2.0
    assert x.grad.tolist() == [[pytest.approx(1 / 3), pytest.approx(1 / 3)], [pytest.approx(1 / 3), 0.0]]
    assert masked_mean(x.detach(), torch.zeros_like(mask)).item() == 0.0
    assert masked_mean(torch.tensor([1.0, 3.0]), None).item() == 2.0


class Stateful(TorchRLModule):
    def get_initial_state(self):
        return {"h": torch.zeros(2)}


@pytest.mark.parametrize(("config", "expected"), [({"max_seq_len": 7}, 7), ({}, None), ({"max_seq_len": 0}, None)])
def test_the_length_comes_from_the_model_config(config, expected):
    module = RLModuleSpec(Stateful, gym.spaces.Discrete(2), model_config=config).build()
    if expected:
        assert max_seq_len(module) == expected
    else:
        with pytest.raises(ValueError, match="max_seq_len"):
            max_seq_len(module)


def test_a_rollout_without_state_is_refused_for_sequences():
    rollout = Rollout(columns={"obs": torch.zeros(2, 2)}, bootstrap_obs=torch.zeros(2))
    with pytest.raises(ConfigError, match="recurrent"):
        ChunkLayout.of(rollout)
