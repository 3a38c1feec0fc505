"""Environments whose values are known exactly."""

from __future__ import annotations

import gymnasium as gym
import numpy as np


class Masked(gym.Env):
    """Of five actions only some are allowed at each step; another one raises."""

    observation_space = gym.spaces.Dict(
        {
            "action_mask": gym.spaces.Box(0, 1, (5,), np.int8),
            "state": gym.spaces.Box(-1.0, 1.0, (3,), np.float32),
        }
    )
    action_space = gym.spaces.Discrete(5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        if not self.mask[action]:
            raise ValueError(f"action {action} is not allowed: {self.mask}")
        self.t += 1
        return self._obs(), float(action), self.t >= 6, False, {}

    def _obs(self):
        self.mask = np.zeros(5, np.int8)
        self.mask[self.np_random.choice(5, 2, replace=False)] = 1
        return {"action_mask": self.mask, "state": self.np_random.uniform(-1, 1, 3).astype(np.float32)}


class Spaces(gym.Env):
    """Random observations of any space, any actions, episodes of 5 steps; the reward is the sum of the action."""

    def __init__(self, observation_space, action_space) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.t += 1
        reward = float(np.sum(action))
        return self.observation_space.sample(), reward, self.t >= 5 and self.t % 2 == 1, False, {}
