"""Rollouts with masked steps, of envs that failed: a recorded step learns from them what an eager one does."""

from __future__ import annotations

import numpy as np
import pytest
from faulty_envs import unreliable
from oracle_envs import Ragged

from rlkit_ppo import PPOConfig

LSTM = {"use_lstm": True, "lstm_cell_size": 4, "max_seq_len": 5}


@pytest.mark.parametrize("model", [{}, LSTM], ids=["mlp", "lstm"])
def test_a_recording_honours_the_mask(model):
    weights, steps = [], []
    for engine in (None, "capture"):
        config = (
            PPOConfig()
            .environment(unreliable(Ragged, 0.03))
            .env_runners(num_envs_per_env_runner=4)
            .training(train_batch_size=160, minibatch_size=40, num_epochs=2, lr=0.01)
            .learners(compile=engine)
            .rl_module(model_config={"fcnet_hiddens": [8], **model})
            .debugging(seed=2)
        )
        with config.build_algo() as algo:
            for _ in range(4):
                result = algo.train()
            assert result["fault_tolerance"]["num_env_restarts"] > 3
            steps.append(result["num_env_steps_sampled_lifetime"])
            weights.append(algo.learner_group.get_weights().state["default_policy"])
    assert steps[0] == steps[1] < 4 * 160
    for name, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][name], rtol=1e-4, atol=1e-5, err_msg=name)
