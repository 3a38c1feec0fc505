"""A run whose evaluation episodes do not all end: what is decided by those that do, and what the summary says."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest

from actor_critic import ACConfig
from rlkit_core.cli.carry_out import print_summary
from rlkit_core.run.run import Run
from rlkit_core.run.stop import Stop


class Endless(gym.Env):
    """Every other episode ends after 10 steps, the others never."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.t, self.length = 0, 10 if (seed or 0) % 2 else 10**9
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(2, np.float32), 1.0, self.t == self.length, False, {}


def test_the_target_is_not_reached_by_episodes_that_happen_to_end(tmp_path, capsys):
    config = (
        ACConfig()
        .environment(Endless)
        .training(train_batch_size=32, minibatch_size=32)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .evaluation(evaluation_interval=1, evaluation_duration=5, evaluation_max_steps_per_episode=40)
        .reporting(writers=["csv"])
        .debugging(seed=7)
    )
    stop = Stop(return_mean=5.0, iterations=2)
    run = Run(config, tmp_path / "run", stop=stop, evaluation_episodes=12, plot=False)
    with pytest.warns(UserWarning, match="did not end and were cut"):
        summary = run.fit()
    assert summary.reason == "limit"
    assert summary.evaluation_return_mean == 10.0
    assert 0 < summary.evaluation_episodes_cut < 12
    assert summary.evaluation_episodes + summary.evaluation_episodes_cut == 12
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["evaluation_episodes_cut"] > 0
    assert not (tmp_path / "run" / "best").exists()
    capsys.readouterr()
    print_summary(summary, stop)
    shown = capsys.readouterr().out
    assert "mean return 10.0 over" in shown
    assert f"{summary.evaluation_episodes_cut} more did not end and were cut" in shown


class Fragile(gym.Env):
    """Episodes of 20 steps; some break off before."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config):
        self.of_ten = config["of_ten"]

    def reset(self, *, seed=None, options=None):
        self.t, self.fails = 0, (seed or 0) % 10 < self.of_ten
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        if self.fails and self.t == 15:
            raise OSError("broken")
        return np.zeros(2, np.float32), 1.0, self.t == 20, False, {}


@pytest.mark.parametrize(("of_ten", "counts"), [(5, True), (9, False)])
def test_episodes_that_end_count_where_the_env_of_few_others_failed(of_ten, counts, tmp_path, capsys):
    config = (
        ACConfig()
        .environment(Fragile, env_config={"of_ten": of_ten})
        .training(train_batch_size=32, minibatch_size=32)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .evaluation(evaluation_interval=1, evaluation_duration=12)
        .reporting(writers=["csv"])
        .debugging(seed=7)
    )
    stop = Stop(return_mean=15.0, iterations=2)
    run = Run(config, tmp_path / "run", stop=stop, evaluation_episodes=12, plot=False)
    with pytest.warns(UserWarning, match="of 12 evaluation episodes broke off because their env failed"):
        summary = run.fit()
    assert summary.reason == ("solved" if counts else "limit")
    assert summary.evaluation_return_mean == 20.0
    failed = summary.evaluation_episodes_failed
    assert summary.evaluation_episodes_cut == failed == 12 - summary.evaluation_episodes
    assert (0 < failed < 6) if counts else (6 < failed < 12)
    assert (tmp_path / "run" / "best").exists() == counts
    capsys.readouterr()
    print_summary(summary, stop)
    shown = capsys.readouterr().out
    assert f"20.0 over {12 - failed} deterministic evaluation episodes (target 15); {failed} more broke off" in shown
