"""PPO reaches the published levels, with the settings of its own data file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from learning import train_to_level

RESULTS = Path(__file__).resolve().parents[3] / "benchmarks" / "results"


@pytest.mark.learn
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("env", "level", "within"),
    [
        ("CartPole-v1", 475.0, 150_000),
        ("Pendulum-v1", -300.0, 400_000),
        ("Acrobot-v1", -100.0, 300_000),
        ("LunarLander-v3", 200.0, 1_000_000),
    ],
)
def test_reaches_the_level(env, level, within, seed, tmp_path):
    if env == "LunarLander-v3":
        pytest.importorskip("Box2D", reason="`make learn` installs it")
    train_to_level("ppo", env, level=level, within=within, seed=seed, run_dir=tmp_path / "run")


@pytest.mark.learn
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_reaches_the_bare_loop_on_minatar(seed, tmp_path):
    """The level is what a bare loop made of as many steps, as recorded; episodes are cut at the same length."""
    pytest.importorskip("minatar", reason="`make learn` installs it")
    env = "MinAtar/Breakout-v1"
    bare = json.loads((RESULTS / "bare-ppo-MinAtar-Breakout-v1.json").read_text())
    row = train_to_level("ppo", env, level=bare["return"], within=bare["steps"], seed=seed, run_dir=tmp_path / "run")
    assert row["settings"]["settings"]["env_config"]["max_episode_steps"] == bare["max_episode_steps"]


def test_solves_cartpole(tmp_path):
    train_to_level("ppo", "CartPole-v1", level=475.0, within=150_000, seed=1, run_dir=tmp_path / "run")


@pytest.mark.learn
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_agents_balance_a_pole_each(seed, tmp_path):
    """One module each; a return is the sum over both agents."""
    train_to_level(
        "ppo", "rlkit_core.testing:MultiAgentCartPole", level=800.0, within=600_000, seed=seed, run_dir=tmp_path / "run"
    )


@pytest.mark.learn
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_three_agents_spread_as_well_as_stable_baselines3s(seed, tmp_path):
    """One module for all; the level is what `benchmarks/peers/sb3_simple_spread.py` made of as many steps."""
    pytest.importorskip("mpe2", reason="pip install 'rlkit-core[multi-agent]'")
    peer = json.loads((RESULTS / "sb3-ppo-simple_spread.json").read_text())
    level = max(peer["episode_return_mean"], peer["deterministic_episode_return_mean"])
    within = peer["env_steps"]
    options = ("--stop-steps", str(within - 1023))  # the last iteration of 1,024 steps ends within
    train_to_level(
        "ppo", peer["environment"], level=level, within=within, seed=seed, run_dir=tmp_path / "run", options=options
    )
