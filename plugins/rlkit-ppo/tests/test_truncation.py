"""Truncation is not termination: two environments whose values are known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from faulty_envs import unreliable
from oracle_envs import ConstantReward, TwoKinds

from rlkit_ppo import PPOConfig

pytestmark = pytest.mark.usefixtures("next_step_resets")

sys.path.insert(0, str(Path(__file__).parent))

GAMMA = 0.8


def train(env, mode, iterations):
    config = (
        PPOConfig()
        .environment(unreliable(env) if mode == "faults" else env)
        .env_runners(num_envs_per_env_runner=4, gym_env_vectorize_mode="sync" if mode == "faults" else mode)
        .training(train_batch_size=256, minibatch_size=128, num_epochs=8, lr=0.01, gamma=GAMMA, lambda_=0.9)
        .debugging(seed=1)
    )
    with config.build_algo() as algo:
        for _ in range(iterations):
            algo.train()
        module = algo.learner_group.learner.module["default_policy"]
        observations = torch.eye(algo.env_runner.observation_space.shape[0])
        with torch.no_grad():
            return module.compute_values({"obs": observations}).numpy()


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync", "faults"])
def test_the_value_of_a_constant_reward_reaches_its_limit(mode):
    values = train(ConstantReward, mode, 25)
    np.testing.assert_allclose(values, 1.0 / (1.0 - GAMMA), rtol=0.03)


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync", "faults"])
def test_no_advantage_leaks_from_one_episode_into_the_last(mode):
    worthless, worth = train(TwoKinds, mode, 25)
    assert abs(worthless) < 0.05
    assert worth == pytest.approx(1.0 / (1.0 - GAMMA), rel=0.03)
