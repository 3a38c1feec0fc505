"""Envs whose observations depend on all that was done in them, so that one forgotten bit is soon seen.

Episodes begin anywhere, end some time, and are longer or shorter than rollouts.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlkit_core.envs import MultiAgentEnv

VECTOR = spaces.Box(-4.0, 4.0, (3,), np.float32)
DISCRETE, CONTINUOUS = spaces.Discrete(3), spaces.Box(-1.0, 1.0, (2,), np.float32)


class Drift:
    """A point that actions push about, for ``length`` steps more or less; some episodes are cut and not terminated."""

    def __init__(self, length: int) -> None:
        self.longest = length

    def begin(self, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        self.rng, self.t, self.length = rng, 0, int(rng.integers(self.longest // 3, self.longest))
        self.at = rng.normal(size=3).astype(np.float32)
        return self.at.copy()

    def push(self, action: Any) -> tuple[np.ndarray[Any, Any], float, bool, bool]:
        self.t += 1
        push = np.resize(np.asarray(action, np.float32).reshape(-1), 3) * np.array([0.3, -0.2, 0.1], np.float32)
        push += self.rng.normal(size=3).astype(np.float32) / 10
        self.at = np.clip(0.9 * self.at[[1, 2, 0]] + push, -4.0, 4.0).astype(np.float32)
        over = self.t == self.length
        cut = over and float(self.at[0]) > 0.2
        return self.at.copy(), float(1.0 - np.abs(self.at).sum()), over and not cut, cut


class Single(gym.Env[Any, Any]):
    """One agent."""

    observation_space = VECTOR

    def __init__(self, config: dict[str, Any]) -> None:
        self.action_space = CONTINUOUS if config["continuous"] else DISCRETE
        self.drift = Drift(config["length"])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.drift.begin(self.np_random), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return *self.drift.push(action), {}


class Several(MultiAgentEnv):
    """``a`` acts at every step, ``b`` at every other one."""

    possible_agents = ("a", "b")
    observation_space = VECTOR

    def __init__(self, config: dict[str, Any]) -> None:
        self.action_space = CONTINUOUS if config["continuous"] else DISCRETE
        self.longest = config["length"]
        self.drifts = {agent: Drift(1000) for agent in self.possible_agents}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        self.t, self.length = 0, int(self.np_random.integers(self.longest // 3, self.longest))
        return {agent: drift.begin(self.np_random) for agent, drift in self.drifts.items()}, {}

    def step(self, action_dict: Any) -> tuple[Any, Any, Any, Any, Any]:
        self.t += 1
        seen = {agent: self.drifts[agent].push(action) for agent, action in action_dict.items()}
        rewards = {agent: reward for agent, (_, reward, _, _) in seen.items()}
        if self.t == self.length:
            return {}, rewards, {"__all__": True}, {}, {}
        observations = {"a": seen["a"][0]}
        if self.t % 2 == 0:
            observations["b"] = self.drifts["b"].at.copy()
        return observations, rewards, {}, {}, {}
