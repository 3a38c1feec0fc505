"""PPO on envs that cost something: what a worker trains on, and with what. Standard library only, as ``_span.py``."""

from __future__ import annotations

from dataclasses import dataclass


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


TASKS = {
    # Stable-Baselines3's defaults, with observations and rewards normalised.
    "half_cheetah": Task("HalfCheetah-v5", 256, 10, 64, 3e-4, 0.2, 0.0, images=False),
    # RL Zoo's settings for Atari: preprocessing, four frames, the network of Mnih et al. (2015).
    "pong": Task("ALE/Pong-v5", 128, 4, 256, 2.5e-4, 0.1, 0.01, images=True),
}
