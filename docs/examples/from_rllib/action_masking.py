"""Actions that are not always allowed, after RLlib's `examples/rl_modules/action_masking_rl_module.py`.

    python docs/examples/from_rllib/action_masking.py

There it takes a module, with a mixin for its values and connectors that look after its spaces. Here an observation that
is a Dict with an `action_mask` is all: every algorithm and every built-in distribution of choices obeys it.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_ppo import PPOConfig


class Doors(gym.Env[dict[str, np.ndarray], int]):
    """Some doors are open, each with a prize written on it. Trying a closed one is an error."""

    def __init__(self, doors: int = 6, rounds: int = 10) -> None:
        self.doors, self.rounds = doors, rounds
        self.observation_space = gym.spaces.Dict(
            {
                "action_mask": gym.spaces.Box(0.0, 1.0, (doors,), np.float32),
                "prizes": gym.spaces.Box(0.0, 1.0, (doors,), np.float32),
            }
        )
        self.action_space = gym.spaces.Discrete(doors)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """New doors."""
        super().reset(seed=seed)
        self.round = 0
        return self.draw(), {}

    def step(self, action: int) -> tuple[dict, float, bool, bool, dict]:
        """Take what is behind a door."""
        if not self.open[action]:
            raise ValueError(f"door {action} is closed; open are {np.flatnonzero(self.open)}")
        reward = float(self.prizes[action])
        self.round += 1
        return self.draw(), reward, self.round == self.rounds, False, {}

    def draw(self) -> dict[str, np.ndarray]:
        """Which doors are open, one at least, and what they are worth."""
        self.open = self.np_random.random(self.doors) < 0.5
        self.open[self.np_random.integers(self.doors)] = True
        self.prizes = self.np_random.random(self.doors, np.float32)
        return {"action_mask": self.open.astype(np.float32), "prizes": self.prizes}


def make_config() -> PPOConfig:
    """No module, no catalog: the mask is seen in the space."""
    config = PPOConfig().environment(Doors).training(train_batch_size=1024, minibatch_size=128, lr=1e-3, gamma=0.0)
    return config.debugging(seed=1)


def main() -> None:
    """Train for a while and say what a round is worth."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, default=40)
    args = parser.parse_args()
    with make_config().build_algo() as algo:
        for _ in range(args.iterations):
            result = algo.train()
            print(f"{result['num_env_steps_sampled_lifetime']:>7,} {result['env_runners']['episode_return_mean']:.2f}")
        algo.save_to_path("doors")


if __name__ == "__main__":
    main()
