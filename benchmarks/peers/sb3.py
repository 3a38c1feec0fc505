"""Stable-Baselines3 and sb3-contrib at the works of ``races.py``, in an environment of their own (``make bench``).

python benchmarks/peers/sb3.py NAME --steps N [--threads 1] [--seed 1]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import _envs
import _sac
import _stateless
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
    parse_order,
)
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

Trained = Callable[[], tuple[int, float]]
SETTINGS = {
    "learning_rate": LEARNING_RATE,
    "n_steps": NUM_STEPS,
    "batch_size": MINIBATCH_SIZE,
    "n_epochs": NUM_EPOCHS,
    "gamma": GAMMA,
    "gae_lambda": LAMBDA,
    "clip_range": CLIP,
    "ent_coef": ENTROPY_COEFF,
    "vf_coef": VALUE_COEFF,
    "max_grad_norm": MAX_GRAD_NORM,
    "device": "cpu",
    "verbose": 0,
}


def two_nets(hiddens: tuple[int, ...] = HIDDENS) -> dict[str, Any]:
    """A tanh network for the policy and one for values."""
    return {"net_arch": {"pi": list(hiddens), "vf": list(hiddens)}, "activation_fn": torch.nn.Tanh}


def training(algo: Any, steps: int) -> Trained:
    """All of an algorithm's steps."""

    def train() -> tuple[int, float]:
        algo.learn(total_timesteps=steps, log_interval=None)
        returns = [episode["r"] for episode in algo.ep_info_buffer]
        return algo.num_timesteps, float(np.mean(returns)) if returns else math.nan

    return train


def cartpole(seed: int) -> Any:
    """PPO on CartPole, in SB3's default vector env (``DummyVecEnv``), as all here."""
    envs = make_vec_env(ENV_ID, n_envs=NUM_ENVS, seed=seed)
    return PPO("MlpPolicy", envs, policy_kwargs=two_nets(), seed=seed, **SETTINGS)


def ppo_cartpole(work: Work) -> Trained:
    """The work that most of the others vary."""
    return training(cartpole(work.seed), work.iterations * ROLLOUT)


def sampling(work: Work) -> Trained:
    """Rollouts of PPO on CartPole, from which nothing is learned."""
    algo = cartpole(work.seed)
    steps = work.iterations * ROLLOUT
    algo._setup_learn(steps)
    callback = CallbackList([])
    callback.init_callback(algo)

    def sample() -> tuple[int, float]:
        for _ in range(work.iterations):
            algo.collect_rollouts(algo.env, callback, algo.rollout_buffer, NUM_STEPS)
        return steps, math.nan

    return sample


def ppo_lstm(work: Work) -> Trained:
    """sb3-contrib's PPO with an LSTM each for policy and values, its default."""
    from sb3_contrib import RecurrentPPO

    envs = make_vec_env(_stateless.StatelessCartPole, n_envs=NUM_ENVS, seed=work.seed)
    networks = {**two_nets(_stateless.HIDDENS), "lstm_hidden_size": _stateless.CELL_SIZE}
    algo = RecurrentPPO("MlpLstmPolicy", envs, policy_kwargs=networks, seed=work.seed, **SETTINGS)
    return training(algo, work.iterations * ROLLOUT)


def ppo_on(task: _envs.Task, work: Work) -> Trained:
    """PPO on a MuJoCo or an Atari env, wrapped as RL Zoo does, with SB3's own networks for it."""
    envs: Any
    if task.images:
        import ale_py
        import gymnasium

        gymnasium.register_envs(ale_py)
        own = {"frameskip": 1, "repeat_action_probability": 0.0}
        envs = VecFrameStack(make_atari_env(task.env, n_envs=NUM_ENVS, seed=work.seed, env_kwargs=own), 4)
    else:
        envs = VecNormalize(make_vec_env(task.env, n_envs=NUM_ENVS, seed=work.seed), gamma=GAMMA)
    settings = {
        **SETTINGS,
        "learning_rate": task.learning_rate,
        "n_steps": task.num_steps,
        "batch_size": task.minibatch_size,
        "n_epochs": task.num_epochs,
        "clip_range": task.clip,
        "ent_coef": task.entropy_coeff,
    }
    algo = PPO("CnnPolicy" if task.images else "MlpPolicy", envs, seed=work.seed, **settings)
    rollout = NUM_ENVS * task.num_steps
    return training(algo, max(1, work.steps // rollout) * rollout)


def sac_pendulum(work: Work) -> Trained:
    """SAC, an update after every step."""
    algo = SAC(
        "MlpPolicy",
        _sac.ENV_ID,
        learning_rate=_sac.LEARNING_RATE,
        buffer_size=_sac.CAPACITY,
        learning_starts=_sac.LEARNING_STARTS,
        batch_size=_sac.BATCH_SIZE,
        tau=_sac.TAU,
        gamma=_sac.GAMMA,
        policy_kwargs={"net_arch": list(_sac.HIDDENS)},
        seed=work.seed,
        device="cpu",
        verbose=0,
    )
    return training(algo, work.steps)


WORKS: dict[str, Callable[[Work], Trained]] = {
    "ppo_cartpole": ppo_cartpole,
    "sampling": sampling,
    "ppo_lstm": ppo_lstm,
    "sac_pendulum": sac_pendulum,
    **{name: partial(ppo_on, task) for name, task in _envs.TASKS.items()},
}


def main() -> None:
    """Build, then do the whole work."""
    name, work = parse_order(WORKS)
    torch.set_num_threads(work.threads)
    contrib = ["sb3-contrib"] if name == "ppo_lstm" else []
    measure(WORKS[name](work), ["stable-baselines3", *contrib, "torch", "gymnasium", "numpy"])


if __name__ == "__main__":
    main()
