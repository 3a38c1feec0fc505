"""Stable-Baselines3's SAC on the same work. Runs in an environment of its own (``make bench`` builds it)."""

from __future__ import annotations

import numpy as np
import torch
from _sac import BATCH_SIZE, CAPACITY, ENV_ID, GAMMA, HIDDENS, LEARNING_RATE, LEARNING_STARTS, TAU
from _span import measure, parse_work
from stable_baselines3 import SAC


def main() -> None:
    """Build, then train the whole work."""
    work = parse_work()
    torch.set_num_threads(work.threads)
    algo = SAC(
        "MlpPolicy",
        ENV_ID,
        learning_rate=LEARNING_RATE,
        buffer_size=CAPACITY,
        learning_starts=LEARNING_STARTS,
        batch_size=BATCH_SIZE,
        tau=TAU,
        gamma=GAMMA,
        policy_kwargs={"net_arch": list(HIDDENS)},
        seed=work.seed,
        device="cpu",
        verbose=0,
    )

    def train() -> tuple[int, float]:
        algo.learn(total_timesteps=work.steps, log_interval=None)
        returns = [episode["r"] for episode in algo.ep_info_buffer]
        return algo.num_timesteps, float(np.mean(returns)) if returns else float("nan")

    measure("sb3", train, ["stable-baselines3", "torch", "gymnasium", "numpy"])


if __name__ == "__main__":
    main()
