"""A driver that scores what came next, as RND does: rollouts on their way into the buffer, and batches from it."""

from __future__ import annotations

from next_observations import Counting, check, rewarded_by_next_observations

from rlkit_dqn import DQNConfig


def test_rewards_are_those_of_the_driver_when_they_go_into_the_buffer():
    config = DQNConfig().environment(Counting).rl_module(model_config={"fcnet_hiddens": [4]}).debugging(seed=1)
    config.env_runners(num_envs_per_env_runner=2, rollout_fragment_length=16)
    config.training(num_steps_sampled_before_learning_starts=40, train_batch_size=8, n_step=1)
    with rewarded_by_next_observations(config) as (algo, seen):
        algo.training_step()
        assert not seen["batch"]
        algo.training_step()
        assert len(seen["rollout"]) == 2
        for shown in seen["rollout"]:
            check(shown)
        rewards = {reward for shown in seen["rollout"] for reward in shown["rewards"].tolist()}
        (drawn,) = seen["batch"]
        assert drawn["rewards"].shape == (8,)
        assert set(drawn["rewards"].tolist()) <= rewards
