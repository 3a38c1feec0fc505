"""PPO learns from pictures, from mixed observations and from memory. The quick ones run by default."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from learning import reaches

from rlkit_ppo import PPOConfig


class Quadrants(gym.Env):
    """A picture of bytes with one bright square; naming its quadrant pays 1. Episodes of 16 steps."""

    observation_space = gym.spaces.Box(0, 255, (32, 32, 3), np.uint8)
    action_space = gym.spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        reward, self.t = float(action == self.place), self.t + 1
        return self._obs(), reward, self.t == 16, False, {}

    def _obs(self):
        self.place = int(self.np_random.integers(4))
        return picture(self.np_random, self.place, (32, 32, 3))


def picture(rng, place, shape):
    frame = rng.integers(0, 120, shape, dtype=np.uint8)
    half = shape[0] // 2
    y = place // 2 * half + int(rng.integers(half - 6))
    x = place % 2 * half + int(rng.integers(half - 6))
    frame[y : y + 6, x : x + 6] = 255
    return frame


class Senses(gym.Env):
    """The rule in ``rule`` says which sense to follow: the picture's left or right half, or the vector's sign."""

    observation_space = gym.spaces.Dict(
        {
            "camera": gym.spaces.Box(0, 255, (16, 16, 1), np.uint8),
            "body": gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
            "rule": gym.spaces.Discrete(3),
        }
    )
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        reward, self.t = float(action == self.answer), self.t + 1
        return self._obs(), reward, False, self.t == 16, {}

    def _obs(self):
        rng = self.np_random
        place, rule = int(rng.integers(4)), int(rng.integers(3))
        body = rng.uniform(-1, 1, 2).astype(np.float32)
        self.answer = int((place % 2, body[0] > 0, body[1] > 0)[rule])
        return {"camera": picture(rng, place, (16, 16, 1)), "body": body, "rule": rule}


def best_return(env, iterations, model_config, **training):
    config = (
        PPOConfig()
        .environment(env)
        .env_runners(num_envs_per_env_runner=16)
        .training(train_batch_size=512, minibatch_size=128, num_epochs=4, gamma=0.3, **training)
        .rl_module(model_config=model_config)
        .debugging(seed=1)
    )
    best = 0.0
    with config.build_algo() as algo:
        for iteration in range(iterations):
            algo.train()
            if iteration % 5 == 4:
                best = max(best, algo.evaluate(32)["env_runners"]["episode_return_mean"])
                if best > 15.5:
                    break
    return best


IMAGE = {
    "conv_filters": [[8, 8, 4, "valid"], [16, 3, 1, "valid"]],
    "conv_fcnet_hiddens": [32],
    "vf_share_layers": True,
}


def test_learns_from_pictures_of_bytes():
    assert best_return(Quadrants, 30, IMAGE, lr=0.003) > 14.5  # chance: 4 of 16


def test_learns_from_a_dict_of_picture_vector_and_number():
    model_config = {
        "conv_filters": [[8, 4, 2], [8, 3, 2]],
        "fcnet_hiddens": [16],
        "fusionnet_hiddens": [64],
        "vf_share_layers": True,
    }
    assert best_return(Senses, 60, model_config, lr=0.003) > 13.5  # chance: 8 of 16


@pytest.mark.learn
@pytest.mark.timeout(7200)
def test_balances_a_pole_whose_speed_it_does_not_see(tmp_path):
    reaches("ppo", "rlkit_core.testing.envs:StatelessCartPole-v1", {400_000: 350.0}, folder=tmp_path)
