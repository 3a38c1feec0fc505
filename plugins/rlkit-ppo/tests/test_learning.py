"""PPO reaches the published levels, with the settings of its own data file.

Levels are about what RL Zoo published of Stable-Baselines3 (one seed, older versions of some envs), which is given
behind each; that of MinAtar is a bare loop's.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from learning import reaches, train_to_level

RESULTS = Path(__file__).resolve().parents[3] / "benchmarks" / "results"
HOURS = 3600

pytestmark = pytest.mark.timeout(6 * HOURS)


@pytest.mark.learn
@pytest.mark.parametrize(
    ("env", "steps", "level"),
    [
        ("CartPole-v1", 100_000, 490.0),  # 500
        ("Pendulum-v1", 100_000, -180.0),  # -172
        ("MountainCarContinuous-v0", 100_000, 90.0),  # 88 after 20,000
        ("Acrobot-v1", 300_000, -85.0),  # -74 after a million
    ],
)
def test_reaches_the_level(env, steps, level, tmp_path):
    episodes = 1000 if env == "Pendulum-v1" else 100
    reaches("ppo", env, {steps: level}, folder=tmp_path, episodes=episodes)


@pytest.mark.learn
@pytest.mark.parametrize(
    ("env", "level", "package"),
    [
        ("LunarLander-v3", 240.0, "Box2D"),  # 242
        ("HalfCheetah-v5", 5000.0, "mujoco"),  # 5,819
        ("Hopper-v5", 2600.0, "mujoco"),  # 2,410
    ],
)
def test_reaches_the_level_in_a_million_steps(env, level, package, tmp_path):
    pytest.importorskip(package, reason="`make learn` installs it")
    reaches("ppo", env, {1_000_000: level}, folder=tmp_path)


@pytest.mark.learn
@pytest.mark.parametrize(("env", "steps"), [("MiniGrid-Empty-8x8-v0", 200_000), ("MiniGrid-DoorKey-5x5-v0", 300_000)])
def test_finds_its_way_through_a_grid(env, steps, tmp_path):
    pytest.importorskip("minigrid", reason="`make learn` installs it")
    reaches("ppo", env, {steps: 0.9}, folder=tmp_path, sampled=True)


@pytest.mark.learn
def test_reaches_the_bare_loop_on_minatar(tmp_path):
    """The level is what a bare loop made of as many steps, as recorded; episodes are cut at the same length."""
    pytest.importorskip("minatar", reason="`make learn` installs it")
    bare = json.loads((RESULTS / "bare-ppo-MinAtar-Breakout-v1.json").read_text())
    result = reaches("ppo", "MinAtar/Breakout-v1", {bare["steps"]: bare["return"]}, folder=tmp_path)
    assert result["settings"]["settings"]["env_config"]["max_episode_steps"] == bare["max_episode_steps"]


def test_solves_cartpole(tmp_path):
    train_to_level("ppo", "CartPole-v1", level=475.0, within=150_000, seed=1, run_dir=tmp_path / "run")


@pytest.mark.learn
def test_two_agents_balance_a_pole_each(tmp_path):
    """One module each; a return is the sum over both agents."""
    reaches("ppo", "rlkit_core.testing:MultiAgentCartPole", {150_000: 800.0}, folder=tmp_path)


@pytest.mark.learn
def test_three_agents_spread_as_well_as_stable_baselines3s(tmp_path):
    """One module for all; the level is what `benchmarks/peers/sb3_simple_spread.py` made of as many steps."""
    pytest.importorskip("mpe2", reason="pip install 'rlkit-core[multi-agent]'")
    peer = json.loads((RESULTS / "sb3-ppo-simple_spread.json").read_text())
    level = max(peer["episode_return_mean"], peer["deterministic_episode_return_mean"])
    reaches("ppo", peer["environment"], {peer["env_steps"]: level}, folder=tmp_path)
