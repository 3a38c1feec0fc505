"""GAE against a brute-force sum per episode, with every way an episode can end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.data import gae
from rlkit_core.data.gae import discounted_suffix_sum


def brute_force(rewards, values, last_value, terminateds, truncateds, final_values, gamma, lambda_):
    """Equation 16 of the GAE paper, literally: a double sum over steps up to each episode's end."""
    steps, envs = rewards.shape
    advantages = np.zeros((steps, envs))
    for n in range(envs):
        for t in range(steps):
            weight = 1.0
            for k in range(t, steps):
                following = last_value[n] if k + 1 == steps else values[k + 1, n]
                if terminateds[k, n]:
                    following = 0.0
                elif truncateds[k, n] and final_values is not None:
                    following = final_values[k, n]
                advantages[t, n] += weight * (rewards[k, n] + gamma * following - values[k, n])
                if terminateds[k, n] or truncateds[k, n]:
                    break
                weight *= gamma * lambda_
    return advantages


def random_rollout(seed, steps, envs, same_step):
    rng = np.random.default_rng(seed)
    terminateds = rng.random((steps, envs)) < 0.15
    truncateds = rng.random((steps, envs)) < 0.15
    return {
        "rewards": rng.normal(size=(steps, envs)),
        "values": rng.normal(size=(steps, envs)),
        "last_value": rng.normal(size=envs),
        "terminateds": terminateds,
        "truncateds": truncateds,
        "final_values": rng.normal(size=(steps, envs)) if same_step else None,
    }


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 19),
    envs=st.integers(1, 4),
    same_step=st.booleans(),
    gamma=st.sampled_from([0.0, 0.9, 0.99, 1.0]),
    lambda_=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
)
def test_equals_the_double_sum(seed, steps, envs, same_step, gamma, lambda_):
    rollout = random_rollout(seed, steps, envs, same_step)
    advantages, targets = gae(**rollout, gamma=gamma, lambda_=lambda_)
    expected = brute_force(**rollout, gamma=gamma, lambda_=lambda_)
    np.testing.assert_allclose(advantages, expected, atol=1e-9)
    np.testing.assert_allclose(targets, expected + rollout["values"], atol=1e-9)


def test_tensors_in_tensors_out_and_float32_is_enough():
    rollout = random_rollout(3, 128, 8, True)
    exact, _ = gae(**rollout)
    tensors = {k: torch.as_tensor(v) for k, v in rollout.items()}
    tensors = {k: v.float() if v.dtype == torch.float64 else v for k, v in tensors.items()}
    advantages, targets = gae(**tensors)
    assert advantages.dtype == targets.dtype == torch.float32
    np.testing.assert_allclose(advantages.numpy(), exact, atol=1e-4)


def test_next_step_reset_bootstraps_a_truncation_from_the_following_row():
    # Row 2 is the reset row: its observation is the final one of the truncated episode.
    advantages, _ = gae(
        rewards=np.array([[1.0], [1.0], [0.0], [1.0]]),
        values=np.array([[0.0], [0.0], [10.0], [0.0]]),
        last_value=np.array([0.0]),
        terminateds=np.zeros((4, 1), bool),
        truncateds=np.array([[False], [True], [False], [False]]),
        final_values=None,
        gamma=0.5,
        lambda_=1.0,
    )
    assert advantages[1, 0] == 1.0 + 0.5 * 10.0
    assert advantages[0, 0] == 1.0 + 0.5 * 6.0


def test_inputs_are_left_alone():
    rollout = {k: torch.as_tensor(v) for k, v in random_rollout(5, 9, 2, True).items()}
    before = {k: v.clone() for k, v in rollout.items()}
    gae(**rollout)
    assert all(torch.equal(rollout[k], before[k]) for k in rollout)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 64])
def test_doubling_scan_equals_the_loop(steps):
    x, decay = torch.randn(steps, 3, dtype=torch.float64), torch.rand(steps, 3, dtype=torch.float64)
    y = torch.zeros(3, dtype=torch.float64)
    expected = []
    for t in reversed(range(steps)):
        y = x[t] + decay[t] * y
        expected.append(y)
    assert torch.allclose(discounted_suffix_sum(x, decay), torch.stack(expected[::-1]))
