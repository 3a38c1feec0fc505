"""An env whose steps take time, and as a script a process that does nothing but step it: the floor of ``scaling.py``.

As a script it takes the env's costs as JSON and the number of envs, reads numbers of steps from its input, a line each,
and writes a line when they are done. It imports little, so that many start quickly.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import gymnasium as gym
import numpy as np


class CostlyEnv(gym.Env[np.ndarray[Any, Any], Any]):
    """Each step takes ``cpu`` seconds of CPU time, or ``sleep`` seconds of none; episodes have 100 steps."""

    observation_space = gym.spaces.Box(-1, 1, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, cpu: float = 0.0, sleep: float = 0.0) -> None:
        self._cpu, self._sleep, self._t = cpu, sleep, 0
        self._observation = np.zeros(4, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self._t = 0
        return self._observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take time."""
        self._t += 1
        if self._sleep:
            time.sleep(self._sleep)
        else:
            until = time.thread_time() + self._cpu
            while time.thread_time() < until:
                pass
        return self._observation, 1.0, self._t == 100, False, {}


def main() -> None:
    """Step envs with random actions, as often as is asked."""
    kwargs, num_envs = json.loads(sys.argv[1]), int(sys.argv[2])
    envs = [CostlyEnv(**kwargs) for _ in range(num_envs)]
    for env in envs:
        env.reset()
    print("ready", flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            for env in envs:
                if env.step(env.action_space.sample())[2]:
                    env.reset()
        print("done", flush=True)


if __name__ == "__main__":
    main()
