"""Environments whose values are known exactly."""

from __future__ import annotations

import time
from pathlib import Path

import gymnasium as gym
import numpy as np


class Picky(gym.Env):
    """A Dict of picture, vector and action mask; an illegal action raises. Episodes of 9 steps, or cut after 4."""

    observation_space = gym.spaces.Dict(
        {
            "action_mask": gym.spaces.MultiBinary(5),
            "camera": gym.spaces.Box(0, 255, (12, 12, 1), np.uint8),
            "x": gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
        }
    )
    action_space = gym.spaces.Discrete(5, start=3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        assert self.mask[action - 3], f"illegal action {action} under {self.mask}"
        self.t += 1
        return self._obs(), 1.0, self.t == 9, self.t == 4 and self.np_random.random() < 0.5, {}

    def _obs(self):
        self.mask = self.np_random.integers(0, 2, 5).astype(np.int8)
        self.mask[self.np_random.integers(5)] = 1
        return {
            "action_mask": self.mask,
            "camera": self.np_random.integers(0, 255, (12, 12, 1), dtype=np.uint8),
            "x": self.np_random.uniform(-1, 1, 2).astype(np.float32),
        }


class OneIsSlow(gym.Env):
    """Of all that are made with one ``flag``, the first takes its time, and says so in its observation."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config):
        try:
            Path(config["flag"]).touch(exist_ok=False)
            self.slow = True
        except FileExistsError:
            self.slow = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.full(1, self.slow, np.float32), {}

    def step(self, action):
        if self.slow:
            time.sleep(0.05)
        return np.full(1, self.slow, np.float32), 1.0, False, False, {}
