"""A profile of a run whose runners are in processes: they say what they did, each by its own clock."""

from __future__ import annotations

import time

import gymnasium as gym
import numpy as np

from actor_critic import ACConfig


class Sleeps(gym.Env):
    """Episodes of five steps, 2 ms each."""

    observation_space = gym.spaces.Box(0, 10, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        time.sleep(0.002)
        self.t += 1
        return np.full(1, self.t, np.float32), 1.0, self.t == 5, False, {}


def test_runners_elsewhere_say_what_they_did():
    config = (
        ACConfig()
        .environment(Sleeps)
        .env_runners(num_env_runners=2, num_envs_per_env_runner=2, rollout_fragment_length=16)
        .training(train_batch_size=64, minibatch_size=64, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .debugging(seed=1)
    )
    with config.build_algo() as algo:
        started = time.perf_counter()
        with algo.profile() as profile:
            algo.train()
            algo.train()
        spent = time.perf_counter() - started
        assert profile.env_steps == 128
        assert profile.num_runners == 2
        assert set(profile.runners) == {"env", "acting", "idle"}
        assert profile.runners["env"] >= 128 * 0.002
        assert profile.parts["sampling"] >= 128 * 0.002 / 2  # waiting for them
        assert "env" not in profile.parts
        assert sum(profile.runners.values()) <= 2 * spent
        with algo.profile() as again:
            pass
        assert again.env_steps == 0
        assert set(again.runners) == {"idle"}
