"""Environments whose values are known exactly."""

from __future__ import annotations

import gymnasium as gym
import numpy as np


class ConstantReward(gym.Env):
    """Reward 1 at every step, cut after ``limit`` steps: the episode is truncated, the value is 1 / (1 - gamma)."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, limit: int = 8) -> None:
        self.limit, self.t = limit, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.ones(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.ones(1, np.float32), 1.0, False, self.t >= self.limit, {}


class TwoKinds(gym.Env):
    """Episodes of kind 0 pay nothing, those of kind 1 pay 1 per step; the observation tells the kind.

    Nothing an episode of kind 0 holds may learn from the episode of kind 1 that follows it.
    """

    observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, limit: int = 5) -> None:
        self.limit, self.t, self.kind = limit, 0, 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.kind = 0, 1 - self.kind
        return self._obs(), {}

    def step(self, action):
        self.t += 1
        return self._obs(), float(self.kind), False, self.t >= self.limit, {}

    def _obs(self):
        return np.eye(2, dtype=np.float32)[self.kind]


class Ragged(gym.Env):
    """Random observations and rewards; episodes of 1 to 7 steps, terminated or truncated, as their seed has it."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.limit, self.cut = 0, int(self.np_random.integers(1, 8)), bool(self.np_random.integers(2))
        return self._obs(), {}

    def step(self, action):
        self.t += 1
        over = self.t >= self.limit
        return self._obs(), float(self.np_random.normal()), over and not self.cut, over and self.cut, {}

    def _obs(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


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
