from __future__ import annotations

import numpy as np
import torch

from rlkit_ppo.reward_scaling import RewardScaler


def test_scales_by_the_deviation_of_the_running_discounted_return():
    rng = np.random.default_rng(0)
    gamma, scaler = 0.9, RewardScaler(0.9)
    returns, open_ = [], np.zeros(3)
    for _ in range(4):
        rewards = rng.normal(2.0, 5.0, (11, 3))
        dones = rng.random((11, 3)) < 0.2
        for t in range(11):
            open_ = gamma * open_ + rewards[t]
            returns.append(open_.copy())
            open_ = np.where(dones[t], 0.0, open_)
        scaled = scaler(torch.as_tensor(rewards), torch.as_tensor(dones))
        variance = np.var(np.concatenate(returns))
        np.testing.assert_allclose(scaler.variance, variance, rtol=1e-9)
        np.testing.assert_allclose(scaled.numpy(), rewards / np.sqrt(variance + 1e-8), rtol=1e-9)


def test_state_round_trip_continues_the_moments():
    first, second = RewardScaler(0.9), RewardScaler(0.9)
    rewards, dones = torch.randn(5, 2), torch.zeros(5, 2, dtype=torch.bool)
    first(rewards, dones)
    second.set_state(first.get_state())
    assert torch.equal(first(rewards, dones), second(rewards, dones))
