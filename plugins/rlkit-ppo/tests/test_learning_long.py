"""PPO on what takes hours: one seed, run last, by `make learn-long`, which goes on where it was ended.

Levels are about what RL Zoo published of Stable-Baselines3 (one seed, older versions of some envs), which is given
behind each. Where none was published for a version of an env, what it makes of the same budget is the level.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from learning import reaches

RESULTS = Path(__file__).resolve().parents[3] / "benchmarks" / "results"

pytestmark = [pytest.mark.learn_long, pytest.mark.timeout(9 * 3600)]


# Short ones first: what does not fit into the hours is at the end.
@pytest.mark.parametrize(
    ("env", "steps", "level", "package"),
    [
        ("MountainCar-v0", 1_000_000, -115.0, "gymnasium"),  # -110
        ("LunarLanderContinuous-v3", 1_000_000, 260.0, "Box2D"),  # 271
        ("Swimmer-v5", 1_000_000, 200.0, "mujoco"),  # 282, with a discount of 0.9999
        ("Walker2d-v5", 1_000_000, 3000.0, "mujoco"),  # 3,479
        ("BipedalWalker-v3", 5_000_000, 250.0, "Box2D"),  # 213
    ],
)
def test_reaches_the_level(env, steps, level, package, tmp_path):
    pytest.importorskip(package, reason="`make learn-long` installs it")
    reaches("ppo", env, {steps: level}, folder=tmp_path, seeds=(1,))


def test_ant_is_not_below_stable_baselines3s(tmp_path):
    """v5 has other observations and rewards than the published one: the level is `benchmarks/peers/sb3_zoo.py`'s."""
    pytest.importorskip("mujoco", reason="`make learn-long` installs it")
    file = RESULTS / "sb3-ppo-Ant-v5.json"
    if not file.exists():
        pytest.skip(f"{file} is not recorded: python benchmarks/peers/sb3_zoo.py Ant-v5")
    peer = json.loads(file.read_text())
    reaches("ppo", "Ant-v5", {peer["steps"]: peer["return"]}, folder=tmp_path, seeds=(1,))


def test_wins_at_pong(tmp_path):
    pytest.importorskip("ale_py", reason="`make learn-long` installs it")
    reaches("ppo", "ALE/Pong-v5", {3_000_000: 17.0}, folder=tmp_path, seeds=(1,), sampled=True)  # 21 at 10 million
