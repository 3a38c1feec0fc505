"""Stable-Baselines3's PPO with its own defaults; run it where that is installed. See ``untuned.py``."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import gymnasium
import torch
from _untuned import EPISODES, env_of, measured
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor


def train(env: str, steps: int, seed: int) -> tuple[int, Callable[[], tuple[float, float]]]:
    """Train to the end of the budget."""
    torch.set_num_threads(1)

    def make() -> gymnasium.Env:
        named = env_of(env)
        return Monitor(gymnasium.make(named) if isinstance(named, str) else named())

    made = make()
    policy = "CnnPolicy" if len(made.observation_space.shape or ()) == 3 else "MlpPolicy"
    model = PPO(policy, made, seed=seed, device="cpu").learn(steps)

    def play() -> tuple[float, float]:
        other = make()
        other.reset(seed=seed + 1000)
        returns, _ = evaluate_policy(
            model, other, n_eval_episodes=EPISODES, deterministic=True, return_episode_rewards=True
        )
        return statistics.fmean(returns), statistics.stdev(returns) / len(returns) ** 0.5

    return model.num_timesteps, play


if __name__ == "__main__":
    measured(train)
