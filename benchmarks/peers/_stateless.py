"""The env of the work with memory: CartPole-v1 that shows positions alone, for workers with rlkit and without."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv

CELL_SIZE = 64
HIDDENS = (64,)


class StatelessCartPole(gym.ObservationWrapper[Any, Any, Any]):
    """The cart's position and the pole's angle; velocities have to be remembered."""

    def __init__(self) -> None:
        super().__init__(gym.wrappers.TimeLimit(CartPoleEnv(), max_episode_steps=500))
        space: Any = self.env.observation_space
        self.observation_space = gym.spaces.Box(space.low[::2], space.high[::2], dtype=np.float32)

    def observation(self, observation: Any) -> Any:
        """The first and the third number."""
        return observation[::2]
