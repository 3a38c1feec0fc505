"""PPO learns where envs are tensors, all on one device."""

from __future__ import annotations

import pytest
import torch

from rlkit_core.envs.gym_vectors.tensors.vector import TensorVectorEnv
from rlkit_core.testing import TensorCartPole
from rlkit_ppo import PPOConfig

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
def test_cartpole_is_learned(device):
    config = (
        PPOConfig()
        .environment(TensorCartPole, env_config={"device": device})
        .env_runners(num_envs_per_env_runner=64, rollout_fragment_length=16)
        .training(train_batch_size=1_024, minibatch_size=512, num_epochs=4, lr=3e-3)
        .learners(num_gpus_per_learner=float(device == "cuda"))
        .debugging(seed=1)
    )
    with config.build_algo() as algo:
        assert isinstance(algo.env_runner.env, TensorVectorEnv)
        first = algo.train()["env_runners"]["episode_return_mean"]
        for _ in range(40):
            result = algo.train()
    assert result["env_runners"]["episode_return_mean"] > 3 * first
