"""An image env that is quick to step and to learn: catch what falls, seen as 40 x 40 pixels."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

CELLS, PIXELS, BALLS = 10, 4, 5


class Catch(gym.Env[Any, Any]):
    """Five balls fall one after the other; the paddle earns 1 for each that it catches, and -1 for each other one."""

    observation_space = gym.spaces.Box(0, 255, (CELLS * PIXELS, CELLS * PIXELS, 1), np.uint8)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Put the paddle in the middle."""
        super().reset(seed=seed)
        self._paddle, self._fallen = CELLS // 2, 0
        self._throw()
        return self._picture(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move left, not, or right; the ball falls by one cell."""
        self._paddle = min(max(self._paddle + int(action) - 1, 0), CELLS - 1)
        self._row += 1
        reward = 0.0
        if self._row == CELLS - 1:
            reward = 1.0 if self._column == self._paddle else -1.0
            self._fallen += 1
            self._throw()
        return self._picture(), reward, self._fallen == BALLS, False, {}

    def _throw(self) -> None:
        self._row, self._column = 0, int(self.np_random.integers(CELLS))

    def _picture(self) -> Any:
        cells = np.zeros((CELLS, CELLS), np.uint8)
        cells[self._row, self._column] = 255
        cells[CELLS - 1, self._paddle] = 128
        return np.kron(cells, np.ones((PIXELS, PIXELS), np.uint8))[:, :, None]
