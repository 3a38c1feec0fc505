"""Environments whose values are known exactly: an algorithm that mixes up truncation and termination misses them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

Array = np.ndarray[Any, Any]


class ConstantReward(gym.Env[Array, np.int64]):
    """Reward 1 at every step, cut after ``limit`` steps: the episode is truncated, the value is 1 / (1 - gamma)."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, limit: int = 8) -> None:
        self.limit, self.t = limit, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self.t = 0
        return np.ones(1, np.float32), {}

    def step(self, action: object) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Take a step; the action does not matter."""
        self.t += 1
        return np.ones(1, np.float32), 1.0, False, self.t >= self.limit, {}


class TwoKinds(gym.Env[Array, np.int64]):
    """Episodes of kind 0 pay nothing, those of kind 1 pay 1 per step; the observation tells the kind.

    Nothing an episode of kind 0 holds may learn from the episode of kind 1 that follows it.
    """

    observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, limit: int = 5) -> None:
        self.limit, self.t, self.kind = limit, 0, 1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self.t, self.kind = 0, 1 - self.kind
        return self._obs(), {}

    def step(self, action: object) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Take a step; the action does not matter."""
        self.t += 1
        return self._obs(), float(self.kind), False, self.t >= self.limit, {}

    def _obs(self) -> Array:
        observation: Array = np.eye(2, dtype=np.float32)[self.kind]
        return observation


class Ragged(gym.Env[Array, np.int64]):
    """Random observations and rewards; episodes of 1 to 7 steps, terminated or truncated, as their seed has it."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self.t, self.limit, self.cut = 0, int(self.np_random.integers(1, 8)), bool(self.np_random.integers(2))
        return self._obs(), {}

    def step(self, action: object) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Take a step; the action does not matter."""
        self.t += 1
        over = self.t >= self.limit
        return self._obs(), float(self.np_random.normal()), over and not self.cut, over and self.cut, {}

    def _obs(self) -> Array:
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)
