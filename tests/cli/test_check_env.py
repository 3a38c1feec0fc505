"""``rlkit check-env``."""

from __future__ import annotations

import json

from click.testing import CliRunner

from rlkit_core.cli.app import cli

BROKEN = """
import gymnasium as gym, numpy as np

class Env(gym.Env):
    observation_space, action_space = gym.spaces.Box(-9, 9, (2,)), gym.spaces.Discrete(2)

    def __init__(self, shape=2):
        self.shape = shape

    def reset(self, *, seed=None, options=None):
        return np.zeros(self.shape, np.float32), {}

    def step(self, action):
        print("noise")
        return np.zeros(self.shape, np.float32), float(action), False, False, {}
"""


def run(*words):
    return CliRunner().invoke(cli, ["check-env", *words])


def test_a_good_env():
    result = run("CartPole-v1", "--steps", "100")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("CartPole-v1: 100 steps of random actions, ")
    assert result.stdout.rstrip().endswith("nothing that a trainer would trip over")


def test_an_env_in_a_file(tmp_path, monkeypatch):
    (tmp_path / "my_broken_env.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    result = run("./my_broken_env.py:Env", "--steps", "40")
    assert result.exit_code == 0, result.output
    assert "warning: no episode ended in 40 steps, and no time limit is known\n    fix: " in result.stdout
    assert "noise" not in result.stdout
    wrap = json.dumps({"name": "gymnasium.wrappers:TimeLimit", "max_episode_steps": 5})
    report = json.loads(run("my_broken_env:Env", "--wrap", wrap, "--steps", "40", "--json").stdout)
    assert report["episodes"] == 8
    assert [one["kind"] for one in report["findings"]] == []
    result = run("my_broken_env:Env", "--set", "env_config.shape=3")
    assert result.exit_code == 1
    assert "does not fit its observation_space" in result.stdout


def test_what_cannot_be_made_is_said():
    result = run("CartPoule-v1")
    assert result.exit_code == 2
    assert "CartPole" in result.stderr
