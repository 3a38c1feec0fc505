"""Truncation is not termination: two environments whose values are known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from faulty_envs import unreliable
from oracle_envs import ConstantReward, TwoKinds

from rlkit_core.learner import values_of_rollout
from rlkit_impala import IMPALAConfig

pytestmark = pytest.mark.usefixtures("next_step_resets")

sys.path.insert(0, str(Path(__file__).parent))

GAMMA = 0.8
MODES = ["sync", "gymnasium_sync", "faults"]


def config(env, mode, **model_config):
    return (
        IMPALAConfig()
        .environment(unreliable(env) if mode == "faults" else env)
        .env_runners(
            num_envs_per_env_runner=4,
            rollout_fragment_length=16,
            gym_env_vectorize_mode="sync" if mode == "faults" else mode,
        )
        .training(train_batch_size=64, lr=[[0, 0.03], [6000, 0.003]], gamma=GAMMA, entropy_coeff=0.0)
        .rl_module(model_config={"fcnet_hiddens": [16], **model_config})
        .debugging(seed=1)
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("env", [ConstantReward, TwoKinds])
def test_values_of_states_are_the_known_ones(env, mode):
    with config(env, mode).build_algo() as algo:
        for _ in range(120):
            algo.training_step()
        module = algo.learner_group.learner.module["default_policy"]
        observations = torch.eye(env.observation_space.shape[0])
        with torch.no_grad():
            values = module.compute_values({"obs": observations}).numpy()
    expected = [1.0 / (1.0 - GAMMA)] if env is ConstantReward else [0.0, 1.0 / (1.0 - GAMMA)]
    np.testing.assert_allclose(values, expected, atol=0.15)  # nothing leaks from a worthy episode into a worthless one


@pytest.mark.parametrize("mode", MODES)
def test_values_of_a_recurrent_module_are_the_known_ones(mode):
    recurrent = {"use_gru": True, "lstm_cell_size": 8, "max_seq_len": 5}
    with config(ConstantReward, mode, **recurrent).training(lr=0.02).build_algo() as algo:
        for _ in range(80):
            algo.training_step()
        rollout = algo.env_runner_group.sample()["default_policy"]
        values, _, _ = values_of_rollout(algo.learner_group.learner.module["default_policy"], rollout)
        keep = slice(None) if rollout.loss_mask is None else rollout.loss_mask
        np.testing.assert_allclose(values[keep].numpy(), 1.0 / (1.0 - GAMMA), atol=0.15)
