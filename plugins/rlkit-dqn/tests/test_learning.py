"""DQN reaches the published levels, with the settings of its own data file.

Levels are about what RL Zoo published of Stable-Baselines3 (one seed, older versions of some envs), which is given
behind each; that of MinAtar is a bare loop's.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from learning import reaches, train_to_level

RESULTS = Path(__file__).resolve().parents[3] / "benchmarks" / "results"


@pytest.mark.learn
@pytest.mark.timeout(14400)
@pytest.mark.parametrize(
    ("env", "steps", "level"),
    [
        ("CartPole-v1", 50_000, 490.0),  # 500
        ("Acrobot-v1", 100_000, -82.0),  # -77
        ("MountainCar-v0", 120_000, -110.0),  # -101
    ],
)
def test_reaches_the_level(env, steps, level, tmp_path):
    reaches("dqn", env, {steps: level}, folder=tmp_path)


@pytest.mark.learn
@pytest.mark.timeout(14400)
def test_lands_on_the_moon(tmp_path):
    """154 was published, after 100,000 steps; each run is judged there, and goes on."""
    pytest.importorskip("Box2D", reason="`make learn` installs it")
    reaches("dqn", "LunarLander-v3", {100_000: 154.0, 300_000: 200.0}, folder=tmp_path)


@pytest.mark.learn
@pytest.mark.timeout(21600)
def test_reaches_the_bare_loop_on_minatar(tmp_path):
    """The level is what a bare loop made of 2.5 times as many steps; episodes are cut at the same length."""
    pytest.importorskip("minatar", reason="`make learn` installs it")
    bare = json.loads((RESULTS / "bare-dqn-MinAtar-Breakout-v1.json").read_text())
    within = bare["steps"] * 2 // 5
    result = reaches("dqn", "MinAtar/Breakout-v1", {within: bare["return"]}, folder=tmp_path)
    assert result["settings"]["settings"]["env_config"]["max_episode_steps"] == bare["max_episode_steps"]


@pytest.mark.slow
def test_swings_up_acrobot(tmp_path):
    options = ("--stop-return", "-100")
    train_to_level("dqn", "Acrobot-v1", level=-120.0, within=40_000, seed=1, run_dir=tmp_path / "run", options=options)


@pytest.mark.learn
@pytest.mark.timeout(14400)
def test_two_agents_balance_a_pole_each(tmp_path):
    """One module each; a return is the sum over both agents."""
    reaches("dqn", "rlkit_core.testing:MultiAgentCartPole", {100_000: 600.0}, folder=tmp_path)
