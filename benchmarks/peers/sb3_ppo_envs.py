"""Stable-Baselines3's PPO on the same work, in an environment of its own (``make bench-envs`` builds it)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from _envs import GAMMA, LAMBDA, MAX_GRAD_NORM, NUM_ENVS, VALUE_COEFF, Task, parse_task
from _span import Work, measure
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize


def envs(task: Task, seed: int) -> Any:
    """Eight envs in this process (``DummyVecEnv``, SB3's default), wrapped as RL Zoo does."""
    if not task.images:
        return VecNormalize(make_vec_env(task.env, n_envs=NUM_ENVS, seed=seed), gamma=GAMMA)
    import ale_py
    import gymnasium

    gymnasium.register_envs(ale_py)
    made = make_atari_env(
        task.env, n_envs=NUM_ENVS, seed=seed, env_kwargs={"frameskip": 1, "repeat_action_probability": 0.0}
    )
    return VecFrameStack(made, 4)


def build(task: Task, work: Work) -> PPO:
    """The algorithm with its envs and networks, SB3's own for these observations."""
    torch.set_num_threads(work.threads)
    return PPO(
        "CnnPolicy" if task.images else "MlpPolicy",
        envs(task, work.seed),
        learning_rate=task.learning_rate,
        n_steps=task.num_steps,
        batch_size=task.minibatch_size,
        n_epochs=task.num_epochs,
        gamma=GAMMA,
        gae_lambda=LAMBDA,
        clip_range=task.clip,
        ent_coef=task.entropy_coeff,
        vf_coef=VALUE_COEFF,
        max_grad_norm=MAX_GRAD_NORM,
        seed=work.seed,
        device="cpu",
        verbose=0,
    )


def main() -> None:
    """Build, then train the whole work."""
    task, work = parse_task()
    algo = build(task, work)

    def train() -> tuple[int, float]:
        iterations = max(1, work.steps // task.rollout)
        algo.learn(total_timesteps=iterations * task.rollout, log_interval=None)
        returns = [episode["r"] for episode in algo.ep_info_buffer]
        return algo.num_timesteps, float(np.mean(returns)) if returns else float("nan")

    measure("sb3", train, ["stable-baselines3", "torch", "gymnasium", "numpy"])


if __name__ == "__main__":
    main()
