"""An environment of one's own: walk down a corridor, after RLlib's `examples/envs/custom_gym_env.py`.

python docs/examples/from_rllib/custom_env.py --algo dqn --length 12
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core import AlgorithmConfig, Run, Stop, get_algorithm_config

LEFT, RIGHT = 0, 1


class Corridor(gym.Env[np.ndarray, int]):
    """Begin at 0, reach the last field. A step costs 0.01; the end pays 0.5 to 1.5."""

    def __init__(self, length: int = 10) -> None:
        self.length = length
        self.observation_space = gym.spaces.Box(0.0, length - 1.0, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.position = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Back to the start; `super().reset(seed=seed)` makes `self.np_random`."""
        super().reset(seed=seed)
        self.position = 0
        return self.seen(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """One field to the left or to the right."""
        self.position = max(self.position + (1 if action == RIGHT else -1), 0)
        over = self.position == self.length - 1
        reward = float(self.np_random.uniform(0.5, 1.5)) if over else -0.01
        return self.seen(), reward, over, False, {}

    def seen(self) -> np.ndarray:
        """Where we are."""
        return np.array([self.position], np.float32)


def make_config(algo: str = "ppo", length: int = 10) -> AlgorithmConfig:
    """Any algorithm; `env_config` are the arguments of the class."""
    config = get_algorithm_config(algo).environment(Corridor, env_config={"length": length})
    config.apply_generic()  # what suits the env's spaces, as `rlkit train` does
    return config.debugging(seed=1)


def main() -> None:
    """Train until the mean return of the evaluation is 0.7."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--algo", default="ppo")
    parser.add_argument("--length", type=int, default=10)
    parser.add_argument("--steps", type=int, default=100_000)
    args = parser.parse_args()
    run = Run(make_config(args.algo, args.length), stop=Stop(return_mean=0.7, steps=args.steps))
    summary = run.fit()
    print(summary.reason, summary.evaluation_return_mean, summary.checkpoint)


if __name__ == "__main__":
    main()
