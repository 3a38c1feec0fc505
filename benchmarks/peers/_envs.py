"""The work of ``ppo_envs.py``: what a worker trains on, and with what. Standard library only, as ``_span.py``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from _span import Work

NUM_ENVS = 8
GAMMA, LAMBDA = 0.99, 0.95
VALUE_COEFF = 0.5
MAX_GRAD_NORM = 0.5


@dataclass(frozen=True)
class Task:
    """An env and the settings that both train it with."""

    env: str
    num_steps: int
    num_epochs: int
    minibatch_size: int
    learning_rate: float
    clip: float
    entropy_coeff: float
    images: bool

    @property
    def rollout(self) -> int:
        """Env steps of an iteration."""
        return NUM_ENVS * self.num_steps


TASKS = {
    # Stable-Baselines3's defaults, with observations and rewards normalised.
    "HalfCheetah-v5": Task("HalfCheetah-v5", 256, 10, 64, 3e-4, 0.2, 0.0, images=False),
    # RL Zoo's settings for Atari: preprocessing, four frames, the network of Mnih et al. (2015).
    "ALE/Pong-v5": Task("ALE/Pong-v5", 128, 4, 256, 2.5e-4, 0.1, 0.01, images=True),
}


def parse_task(argv: Sequence[str] | None = None) -> tuple[Task, Work]:
    """Read ``--env``, ``--steps``, ``--threads`` and ``--seed``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--env", choices=list(TASKS), required=True)
    for name in ("steps", "threads", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = vars(parser.parse_args(argv))
    return TASKS[given.pop("env")], Work(**given)
