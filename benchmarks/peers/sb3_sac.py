"""Stable-Baselines3's SAC with its own defaults, but for the warm-up: the level that rlkit-sac has to reach.

Run in an environment that has stable-baselines3 and the env's packages:

    python benchmarks/peers/sb3_sac.py Hopper-v5 --steps 100000 --seeds 1

It prints one JSON object. Of each seed, the mean return of 10 deterministic episodes after every tenth of the steps
(other seeds than training's), and the mean of the last three of those; the median of these is what two sides are
compared by.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import gymnasium
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

EPISODES, LOOKS, LAST = 10, 10, 3


def main() -> None:
    """Train each seed, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("env")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--learning-starts", type=int, default=10_000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs = [trained(args.env, args.steps, seed, args.learning_starts) for seed in args.seeds]
    figures = {
        "name": "stable-baselines3 SAC",
        "environment": args.env,
        "steps": args.steps,
        "learning_starts": args.learning_starts,
        "runs": runs,
        "return": statistics.median(run["return"] for run in runs),
    }
    print(json.dumps(figures, indent=2))


def trained(env_id: str, steps: int, seed: int, learning_starts: int) -> dict[str, Any]:
    """One seed: its looks, and what counts of them."""
    model = SAC("MlpPolicy", gymnasium.make(env_id), seed=seed, learning_starts=learning_starts)
    looks: list[dict[str, float]] = []
    begun = time.process_time()
    for look in range(LOOKS):
        model.learn(steps // LOOKS, reset_num_timesteps=look == 0)
        env = Monitor(gymnasium.make(env_id))
        env.reset(seed=10_000)
        mean, _ = evaluate_policy(model, env, n_eval_episodes=EPISODES, deterministic=True)
        looks.append({"steps": model.num_timesteps, "return": round(float(mean), 2)})
    return {
        "seed": seed,
        "looks": looks,
        "return": round(sum(look["return"] for look in looks[-LAST:]) / LAST, 2),
        "cpu_seconds": round(time.process_time() - begun, 1),
    }


if __name__ == "__main__":
    main()
