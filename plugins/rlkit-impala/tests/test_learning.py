"""IMPALA reaches the published levels, with the settings of its own data file."""

from __future__ import annotations

import pytest
from learning import train_to_level

STATELESS = "rlkit_core.testing.envs:StatelessCartPole-v1"


@pytest.mark.learn
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("env", "level", "within"), [("CartPole-v1", 475.0, 1_000_000), (STATELESS, 350.0, 2_000_000)])
def test_reaches_the_level(env, level, within, seed, tmp_path):
    train_to_level("impala", env, level=level, within=within, seed=seed, run_dir=tmp_path / "run")


@pytest.mark.slow
def test_solves_cartpole(tmp_path):
    train_to_level("impala", "CartPole-v1", level=475.0, within=1_000_000, seed=1, run_dir=tmp_path / "run")


@pytest.mark.learn
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_agents_balance_a_pole_each(seed, tmp_path):
    """One module each; a return is the sum over both agents."""
    train_to_level(
        "impala",
        "rlkit_core.testing:MultiAgentCartPole",
        level=800.0,
        within=1_000_000,
        seed=seed,
        run_dir=tmp_path / "run",
    )
