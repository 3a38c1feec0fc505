"""What the bare loops on MinAtar share: the env, the network's body, the score that counts, its file.

The network is the one MinAtar was published with (Young and Tian 2019, arXiv:1903.03176): 16 filters of 3 x 3 and a
dense layer of 128. Episodes are cut after 1,000 steps, because a policy that never drops the ball would play for ever.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from minatar.gym import register_envs
from torch import nn

ENV_ID = "MinAtar/Breakout-v1"
MAX_EPISODE_STEPS = 1_000
EPISODES = 100

if ENV_ID not in gym.registry:
    register_envs()


@dataclass(frozen=True)
class Order:
    """One run: how long, from which seed, and where its figure goes."""

    steps: int
    seed: int
    json: Path | None


def parse_order(argv: list[str] | None = None) -> Order:
    """Read ``--steps``, ``--seed`` and ``--json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return Order(**vars(parser.parse_args(argv)))


def make_envs(num_envs: int) -> SyncVectorEnv:
    """Capped Breakouts that reset in the step an episode ends in."""
    return SyncVectorEnv(
        [lambda: gym.make(ENV_ID, max_episode_steps=MAX_EPISODE_STEPS, disable_env_checker=True)] * num_envs,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )


def planes(obs: np.ndarray[Any, Any]) -> torch.Tensor:
    """Frames ``(B, 10, 10, C)`` of 0 and 1 as float ``(B, C, 10, 10)``."""
    return torch.as_tensor(obs).permute(0, 3, 1, 2).float()


def body(channels: int) -> nn.Sequential:
    """``(B, C, 10, 10)`` to ``(B, 128)``."""
    return nn.Sequential(nn.Conv2d(channels, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 8 * 8, 128), nn.ReLU())


@torch.no_grad()
def score(scores: Callable[[torch.Tensor], torch.Tensor], seed: int) -> float:
    """Mean return of 100 episodes, one in each of 100 envs, under the action with the greatest score."""
    envs = make_envs(EPISODES)
    obs, _ = envs.reset(seed=seed)
    returns, running = np.zeros(EPISODES), np.ones(EPISODES, dtype=bool)
    while running.any():
        obs, rewards, terminated, truncated, _ = envs.step(scores(planes(obs)).argmax(-1).numpy())
        returns += rewards * running
        running &= ~(terminated | truncated)
    envs.close()
    return float(returns.mean())


def report(name: str, order: Order, settings: dict[str, Any], seconds: float, mean_return: float) -> None:
    """Print the figure as one line of JSON, and keep it where ``--json`` says."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    row = {
        "name": name,
        "environment": ENV_ID,
        "max_episode_steps": MAX_EPISODE_STEPS,
        "episodes": EPISODES,
        "return": mean_return,
        "steps": order.steps,
        "seed": order.seed,
        "seconds": round(seconds, 1),
        "settings": settings,
        "commit": done.stdout.strip() or "unknown",
        "python": platform.python_version(),
        "versions": {package: metadata.version(package) for package in ("torch", "gymnasium", "numpy", "minatar")},
    }
    if order.json is not None:
        order.json.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(row), flush=True)


def run(name: str, order: Order, settings: dict[str, Any], loop: Any) -> None:
    """Train, score and report; ``loop`` has ``train()`` and ``scores(planes)``."""
    start = time.perf_counter()
    loop.train()
    seconds = time.perf_counter() - start
    report(name, order, settings, seconds, score(loop.scores, order.seed + 1000))
