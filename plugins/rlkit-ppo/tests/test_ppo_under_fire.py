"""PPO with runners in processes, while envs fail and runners are killed."""

from __future__ import annotations

import pytest
from faulty_training import reach_level, train_under_fire, with_faults

from rlkit_ppo import PPOConfig


def test_steps_add_up():
    config = (
        PPOConfig()
        .env_runners(num_envs_per_env_runner=2, rollout_fragment_length=50)
        .training(train_batch_size=200, minibatch_size=50, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [16]})
    )
    train_under_fire(with_faults(config, chance=1 / 150), iterations=8, kill_every=4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_level_is_reached():
    reach_level(PPOConfig(), level=450.0, within=200_000, kill_every=12)
