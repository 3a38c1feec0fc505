"""Stable-Baselines3's PPO with RL Zoo's settings: the level where none was published for an env's version.

Run once, in an environment that has stable-baselines3 and MuJoCo:

    python benchmarks/peers/sb3_zoo.py Ant-v5 > benchmarks/results/sb3-ppo-Ant-v5.json

It trains a million steps with observations and rewards normalised and its own defaults otherwise, which is all
that RL Zoo says of Ant, and plays 100 deterministic episodes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import gymnasium
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

SETTINGS = {"Ant-v5": {}, "Swimmer-v5": {"gamma": 0.9999}}
EPISODES = 100


def main() -> None:
    """Train, play, print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("env", choices=sorted(SETTINGS))
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = SETTINGS[args.env]
    begun = time.process_time()
    env = VecNormalize(DummyVecEnv([lambda: Monitor(gymnasium.make(args.env))]), gamma=settings.get("gamma", 0.99))
    model = PPO("MlpPolicy", env, seed=args.seed, device="cpu", **settings).learn(args.steps)
    seconds = time.process_time() - begun
    env.training = env.norm_reward = False
    env.seed(args.seed + 1000)
    returns, _ = evaluate_policy(model, env, EPISODES, deterministic=True, return_episode_rewards=True)
    figures = {
        "name": "stable-baselines3 PPO, RL Zoo's settings",
        "environment": args.env,
        "seed": args.seed,
        "steps": args.steps,
        "return": round(statistics.fmean(returns), 2),
        "stderr": round(statistics.stdev(returns) / len(returns) ** 0.5, 2),
        "settings": {"normalize": True, **settings},
        "cpu_seconds": round(seconds, 1),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
