"""Values of a rollout: from what acting computed, in pieces, and one by one."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core.envs import EnvRunner
from rlkit_core.learner import values, values_of_rollout
from rlkit_core.testing import RandomEnv

pytestmark = pytest.mark.usefixtures("next_step_resets")


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
@pytest.mark.parametrize("share", [True, False])
def test_values_of_steps_of_the_end_and_of_final_observations(mode, share, monkeypatch):
    space = gym.spaces.Box(0, 255, (12, 12, 3), np.uint8)
    env_config = {"observation_space": space, "max_episode_len": 5}
    config = (
        ACConfig()
        .environment(RandomEnv, env_config=env_config)
        .env_runners(num_envs_per_env_runner=3, gym_env_vectorize_mode=mode)
        .rl_module(model_config={"vf_share_layers": share})
        .debugging(seed=1)
    )
    rollout = EnvRunner(config).sample(num_timesteps=60)["default_policy"]
    assert ("embeddings" in rollout) is share
    runner = EnvRunner(config)
    learner = config.build_learner(spaces=runner.get_spaces())
    learner.build()
    module = learner.module["default_policy"]
    runner.set_weights(learner.get_weights())
    rollout = runner.sample(num_timesteps=60)["default_policy"]
    calls = []
    compute_values = module.compute_values
    monkeypatch.setattr(
        module,
        "compute_values",
        lambda batch, embeddings=None: calls.append(embeddings is not None) or compute_values(batch, embeddings),
    )
    fast = values_of_rollout(module, rollout, same_weights=True)
    assert any(calls) is share
    monkeypatch.setattr(values, "MAX_NUMBERS", 12 * 12 * 3 * 7)
    calls.clear()
    plain = values_of_rollout(module, rollout)
    assert not any(calls)
    assert len(calls) >= 60 // 7
    with torch.no_grad():
        one_by_one = torch.stack([compute_values({"obs": rows}) for rows in rollout["obs"]])
    for got in (fast, plain):
        torch.testing.assert_close(got[0], one_by_one, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(got[1], compute_values({"obs": rollout.bootstrap_obs}).detach())
    if mode == "sync":
        assert len(rollout.final_index)
        expected = compute_values({"obs": rollout.final_obs}).detach()
        torch.testing.assert_close(plain[2].reshape(-1)[rollout.final_index], expected, rtol=1e-4, atol=1e-5)
    else:
        assert plain[2] is None
