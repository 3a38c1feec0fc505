"""Rows to clone, and groups of learners that several tests share."""

from __future__ import annotations

import pytest

from actor_critic import ACConfig
from rlkit_core import Columns


@pytest.fixture(scope="session")
def trained_rows():
    """Observations and sampled actions of a policy that was trained for a few seconds."""
    config = ACConfig().environment("CartPole-v1").debugging(seed=1).training(lr=1e-3)
    with config.build_algo() as algo:
        for _ in range(12):
            algo.train()
        rows = algo.env_runner.sample(num_timesteps=8192)["default_policy"].flat()
    return {name: rows[name].clone() for name in (Columns.OBS, Columns.ACTIONS)}
