"""The environment of the work on frames: synthetic ones of 84 x 84 x 4 uint8, so that stepping costs nearly nothing."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

NUM_ACTIONS = 6
FILTERS = ((16, 8, 4), (32, 4, 2))
FC = 128
_BANK = 256


class Frames(gym.Env[Any, Any]):
    """Noise with a bright band; the action that names the band's place earns 1. Episodes end after 200 steps."""

    observation_space = gym.spaces.Box(0, 255, (84, 84, 4), np.uint8)
    action_space = gym.spaces.Discrete(NUM_ACTIONS)

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self._frames = generator.integers(0, 128, (_BANK, 84, 84, 4), dtype=np.uint8)
        height = 84 // NUM_ACTIONS
        for index, frame in enumerate(self._frames):
            place = index % NUM_ACTIONS
            frame[place * height : (place + 1) * height] += 100
        self._index, self._t = 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode at a frame that its seed gives."""
        super().reset(seed=seed)
        self._t = 0
        self._index = int(self.np_random.integers(_BANK))
        return self._frames[self._index], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Pay for the right place and show the next frame."""
        reward = float(action == self._index % NUM_ACTIONS)
        self._t += 1
        self._index = (self._index * 5 + 7 + self._t) % _BANK
        return self._frames[self._index], reward, self._t >= 200, False, {}
