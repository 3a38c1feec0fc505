"""A small task with its only reward far away."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete

CELLS = 16
ACTIONS = 3
STEPS = 80

Array = np.ndarray[Any, Any]


class Uphill(gym.Env[Array, np.int64]):
    """A slope of 16 cells, and a reward of 1 on its top, which ends the episode.

    In each cell one of three actions climbs to the next one, another action in each cell, and the other two slip back
    to the foot. So a player that acts at random comes to the top in one try of 14 million. The way up takes 15 steps,
    and 80 are given. One observes which cell one is in, one-hot.
    """

    observation_space = Box(0.0, 1.0, (CELLS,), np.float32)
    action_space = Discrete(ACTIONS)
    metadata = {"render_modes": []}

    def __init__(self) -> None:
        #: The action that climbs, in each cell; always the same.
        self.ways = np.random.default_rng(0).integers(ACTIONS, size=CELLS)
        self.cell = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin at the foot."""
        super().reset(seed=seed)
        self.cell = 0
        return self._seen(), {}

    def step(self, action: np.int64) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Climb or slip."""
        self.cell = self.cell + 1 if int(action) == self.ways[self.cell] else 0
        top = self.cell == CELLS - 1
        return self._seen(), float(top), bool(top), False, {}

    def _seen(self) -> Array:
        seen = np.zeros(CELLS, np.float32)
        seen[self.cell] = 1.0
        return seen


def register_envs() -> None:
    """Register the env ids of this package; gymnasium's entry points name it."""
    gym.register("rlkit-rnd/Uphill-v0", entry_point="rlkit_rnd.envs:Uphill", max_episode_steps=STEPS)
