"""Floors, and bare torch in small: the envs' own time while sampling, a PPO update.

python benchmarks/peers/floors.py NAME --steps N [--threads 1] [--seed 1]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import bare_learner_update as bare
import gymnasium as gym
import numpy as np
import torch
from _span import ENV_ID, NUM_ENVS, NUM_STEPS, ROLLOUT, Work, measure, parse_order, repeated


def sampling(work: Work) -> Callable[[], tuple[int, float]]:
    """Eight CartPoles that step on random actions drawn before, and begin anew; nothing is kept."""
    envs: list[gym.Env[Any, Any]] = [gym.make(ENV_ID, disable_env_checker=True) for _ in range(NUM_ENVS)]
    for i, env in enumerate(envs):
        env.reset(seed=work.seed + i)
    drawn = np.random.default_rng(work.seed).integers(0, 2, (work.iterations * NUM_STEPS, NUM_ENVS)).tolist()

    def steps() -> tuple[int, float]:
        for actions in drawn:
            for env, action in zip(envs, actions, strict=True):
                _, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    env.reset()
        return work.iterations * ROLLOUT, math.nan

    return steps


def update(work: Work) -> Callable[[], tuple[int, float]]:
    """Minibatches of a PPO update alone."""
    torch.manual_seed(work.seed)
    nets = bare.build_net(bare.NUM_ACTIONS), bare.build_net(1)
    adam = torch.optim.Adam([parameter for net in nets for parameter in net.parameters()], lr=3e-4)
    batch = bare.build_batch()
    bare.update(*nets, adam, batch)
    times = work.steps // bare.NUM_MINIBATCHES
    return repeated(lambda: bare.update(*nets, adam, batch), times, worth=bare.NUM_MINIBATCHES)


WORKS = {"sampling": sampling, "update": update}


if __name__ == "__main__":
    name, work = parse_order(WORKS)
    torch.set_num_threads(work.threads)
    measure(WORKS[name](work), ["torch", "gymnasium", "numpy"])
