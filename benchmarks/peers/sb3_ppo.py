"""Stable-Baselines3's PPO on the same work. Runs in an environment of its own (``make bench`` builds it)."""

from __future__ import annotations

import numpy as np
import torch
from _span import (
    CLIP,
    ENTROPY_COEFF,
    ENV_ID,
    GAMMA,
    HIDDENS,
    LAMBDA,
    LEARNING_RATE,
    MAX_GRAD_NORM,
    MINIBATCH_SIZE,
    NUM_ENVS,
    NUM_EPOCHS,
    NUM_STEPS,
    ROLLOUT,
    VALUE_COEFF,
    Work,
    measure,
    parse_work,
)
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env


def build(work: Work) -> PPO:
    """The algorithm with its envs (``DummyVecEnv``, SB3's default) and networks."""
    torch.set_num_threads(work.threads)
    return PPO(
        "MlpPolicy",
        make_vec_env(ENV_ID, n_envs=NUM_ENVS, seed=work.seed),
        learning_rate=LEARNING_RATE,
        n_steps=NUM_STEPS,
        batch_size=MINIBATCH_SIZE,
        n_epochs=NUM_EPOCHS,
        gamma=GAMMA,
        gae_lambda=LAMBDA,
        clip_range=CLIP,
        ent_coef=ENTROPY_COEFF,
        vf_coef=VALUE_COEFF,
        max_grad_norm=MAX_GRAD_NORM,
        policy_kwargs={
            "net_arch": {"pi": list(HIDDENS), "vf": list(HIDDENS)},
            "activation_fn": torch.nn.Tanh,
        },
        seed=work.seed,
        device="cpu",
        verbose=0,
    )


def main() -> None:
    """Build, then train the whole work."""
    work = parse_work()
    algo = build(work)

    def train() -> tuple[int, float]:
        algo.learn(total_timesteps=work.iterations * ROLLOUT, log_interval=None)
        returns = [episode["r"] for episode in algo.ep_info_buffer]
        return algo.num_timesteps, float(np.mean(returns)) if returns else float("nan")

    measure("sb3", train, ["stable-baselines3", "torch", "gymnasium", "numpy"])


if __name__ == "__main__":
    main()
