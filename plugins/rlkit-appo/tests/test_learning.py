"""APPO reaches the published levels, with the settings of its own data file."""

from __future__ import annotations

import pytest
from learning import reaches, train_to_level

STATELESS = "rlkit_core.testing.envs:StatelessCartPole-v1"


@pytest.mark.learn
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("env", "steps", "level"),
    [("CartPole-v1", 300_000, 475.0), ("Acrobot-v1", 500_000, -90.0), (STATELESS, 600_000, 350.0)],
)
def test_reaches_the_level(env, steps, level, tmp_path):
    reaches("appo", env, {steps: level}, folder=tmp_path)


@pytest.mark.learn
@pytest.mark.timeout(21600)
def test_lands_on_the_moon(tmp_path):
    pytest.importorskip("Box2D", reason="`make learn` installs it")
    reaches("appo", "LunarLander-v3", {2_000_000: 200.0}, folder=tmp_path)


@pytest.mark.slow
def test_solves_cartpole(tmp_path):
    within = 500_000
    train_to_level("appo", "CartPole-v1", level=475.0, within=within, seed=1, run_dir=tmp_path / "run")


@pytest.mark.learn
@pytest.mark.timeout(7200)
def test_two_agents_balance_a_pole_each(tmp_path):
    """One module each; a return is the sum over both agents."""
    reaches("appo", "rlkit_core.testing:MultiAgentCartPole", {300_000: 800.0}, folder=tmp_path)
