"""Stable-Baselines3's PPO with one network for all agents of simple_spread, through SuperSuit's vector env.

Run in an environment that has stable-baselines3, supersuit and mpe2:

    python benchmarks/peers/sb3_simple_spread.py --steps 300000 --seed 1

It prints one JSON object: the mean return of an agent, and the sum over agents, over 100 episodes with fresh seeds,
playing stochastically and deterministically. The settings are those of rlkit-ppo's preset.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import supersuit
import torch
from mpe2 import simple_spread_v3
from stable_baselines3 import PPO
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecMonitor

NUM_ENVS, NUM_STEPS, NUM_AGENTS = 8, 128, 3


def vector_env():  # type: ignore[no-untyped-def]
    """8 envs of 3 agents, as 24 envs of one."""
    env = supersuit.pettingzoo_env_to_vec_env_v1(simple_spread_v3.parallel_env())
    return VecMonitor(supersuit.concat_vec_envs_v1(env, NUM_ENVS, num_cpus=1, base_class="stable_baselines3"))


def evaluate(model: PPO, episodes: int, deterministic: bool, seed: int) -> tuple[float, float]:
    """Mean return of an agent, and mean of the sums over agents."""
    env = simple_spread_v3.parallel_env()
    totals = []
    for episode in range(episodes):
        observations, _ = env.reset(seed=seed + episode)
        total = np.zeros(NUM_AGENTS)
        while env.agents:
            actions, _ = model.predict(np.stack(list(observations.values())), deterministic=deterministic)
            observations, rewards, *_ = env.step(dict(zip(env.agents, (int(a) for a in actions), strict=True)))
            total += np.array(list(rewards.values()))
        totals.append(total)
    return float(np.mean(totals)), float(np.mean(np.sum(totals, axis=1)))


def main() -> None:
    """Train, play, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=300_000, help="env steps, of all agents together")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    set_random_seed(args.seed)  # SuperSuit's vector env takes no seed from SB3
    model = PPO(
        "MlpPolicy",
        vector_env(),
        learning_rate=lambda left: 1e-4 + left * 9e-4,
        n_steps=NUM_STEPS,
        batch_size=256,
        n_epochs=10,
        gamma=0.95,
        gae_lambda=0.95,
        clip_range=0.2,
        ent_coef=0.005,
        policy_kwargs={"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": torch.nn.Tanh},
        device="cpu",
    )
    started = time.perf_counter()
    model.learn(total_timesteps=args.steps * NUM_AGENTS)
    seconds = time.perf_counter() - started
    per_agent, summed = evaluate(model, 100, False, 10_000)
    greedy_per_agent, greedy_summed = evaluate(model, 100, True, 10_000)
    print(
        json.dumps(
            {
                "peer": "stable-baselines3 PPO, one network, supersuit",
                "environment": "mpe2/simple_spread_v3",
                "seed": args.seed,
                "env_steps": args.steps,
                "seconds": round(seconds, 1),
                "agent_return_mean": round(per_agent, 3),
                "episode_return_mean": round(summed, 3),
                "deterministic_agent_return_mean": round(greedy_per_agent, 3),
                "deterministic_episode_return_mean": round(greedy_summed, 3),
            }
        )
    )


if __name__ == "__main__":
    main()
