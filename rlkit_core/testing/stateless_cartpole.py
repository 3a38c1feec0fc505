"""CartPole without velocities: only a module with memory can balance it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv


class StatelessCartPole(gym.ObservationWrapper[Any, Any, Any]):
    """CartPole-v1 (500 steps) that shows the cart's position and the pole's angle alone.

    Args:
        config: not used; the env takes it so that it can be given by its class.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(gym.wrappers.TimeLimit(CartPoleEnv(), max_episode_steps=500))
        space: Any = self.env.observation_space
        self.observation_space = gym.spaces.Box(space.low[[0, 2]], space.high[[0, 2]], dtype=np.float32)

    def observation(self, observation: np.ndarray[Any, Any]) -> Any:
        """Keep position and angle."""
        return np.asarray(observation)[[0, 2]]
