"""The examples with several agents: self-play against a league, and a central critic."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
from tictactoe import lines

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture
def self_play():
    pytest.importorskip("pettingzoo.classic.tictactoe_v3", reason="pip install 'rlkit-core[multi-agent]'")
    return load("self_play")


@pytest.fixture
def central_critic():
    pytest.importorskip("mpe2", reason="pip install 'rlkit-core[multi-agent]'")
    return load("central_critic")


def load(name):
    """An example of the documentation as a module."""
    known = sys.modules.get(f"example_{name}")
    if known is not None:
        return known
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "docs" / "examples" / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def player(algorithm, module_id):
    """A module as somebody who makes moves."""
    module = algorithm.get_module(module_id).unwrapped()
    return lambda observation: int(module.compute_single_action(observation, explore=False)[0])


def small(config):
    return config.training(train_batch_size=64, minibatch_size=32, num_epochs=1).env_runners(num_envs_per_env_runner=4)


def test_past_selves_come_and_go_while_their_games_are_open(self_play, monkeypatch):
    make_config = self_play.make_config
    monkeypatch.setattr(self_play, "make_config", lambda steps: small(make_config(steps)))
    algorithm, past = self_play.train(64 * 11, every=1)
    with algorithm:
        assert past == tuple(f"past_{number}" for number in range(4, 12))
        assert set(algorithm.learner_group.learner.module) == {"main", "random", *past}
        assert set(algorithm.env_runner_group.module) == {"main", "random", *past}
        states = [algorithm.learner_group.learner.module[mid].get_state() for mid in ("past_4", "past_11", "main")]
        weights = [np.concatenate([np.ravel(value) for value in state.values()]) for state in states]
        assert not np.array_equal(weights[0], weights[1]), "past selves of two times are the same"
        assert np.array_equal(weights[1], weights[2]), "the last one is not main as it is"
        algorithm.train()
        after = algorithm.learner_group.learner.module["past_11"].get_state()
        assert np.array_equal(weights[1], np.concatenate([np.ravel(value) for value in after.values()]))


def test_a_league_draws_guests_for_three_games_of_four(self_play):
    league = self_play.League(("a", "b"))

    class Episode:
        def __init__(self, number):
            self.id_ = f"0/3/{number}"

    games = [[league(f"player_{k}", Episode(number)) for k in (1, 2)] for number in range(2000)]
    guests = [game for game in games if game != ["main", "main"]]
    assert 0.7 < len(guests) / len(games) < 0.8
    assert 0.28 < sum(game[0] == "main" for game in guests) / len(guests) < 0.39
    assert all("main" in game for game in games)
    assert {module for game in guests for module in game} == {"main", "random", "a", "b"}
    assert 0.45 < sum("random" in game for game in guests) / len(guests) < 0.55
    assert {module for k in (1, 2) for module in [self_play.League()(f"player_{k}", Episode(3))]} <= {"main", "random"}


def test_a_central_critic_sees_the_state_and_stays_on_learners(central_critic):
    with small(central_critic.make_config()).build() as algorithm:
        before = {
            name: value.clone() for name, value in algorithm.learner_group.learner.module.critic.named_parameters()
        }
        result = algorithm.train()
        learner = algorithm.learner_group.learner
        assert any(not value.equal(before[name]) for name, value in learner.module.critic.named_parameters())
        assert "vf_loss" in result["learners"]["default_policy"]
        assert not hasattr(algorithm.env_runner_group.module, "critic")
        path = algorithm.save_to_path()
    with type(algorithm).from_checkpoint(path) as again:
        restored = dict(again.learner_group.learner.module.critic.named_parameters())
        assert all(value.equal(restored[name]) for name, value in learner.module.critic.named_parameters())


@pytest.mark.learn
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_self_play_learns_tic_tac_toe(self_play, seed):
    """No reply of an opponent beats it when it begins, and at most 2 % of them do otherwise."""
    seen: dict[str, dict[str, int]] = {}

    def content(algorithm):
        main = player(algorithm, "main")
        seen.update(first=lines(main, first=True), second=lines(main, first=False))
        print(algorithm.num_env_steps_sampled_lifetime, seen)
        return not seen["first"]["lost"] and seen["second"]["lost"] <= 0.02 * sum(seen["second"].values())

    algorithm, _ = self_play.train(1_000_000, seed=seed, until=content)
    with algorithm:
        steps = algorithm.num_env_steps_sampled_lifetime
        record("self-play-tictactoe", {"seed": seed, "within_steps": 1_000_000, "steps": steps, "lines": seen})
        assert content(algorithm)
        assert steps <= 1_005_000


@pytest.mark.learn
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_central_critic_is_not_worse_than_none(central_critic, seed):
    """Mean over the seeds so far against independent PPO's, recorded by `test_learning.py`."""
    with central_critic.make_config(300_000).debugging(seed=seed).build() as algorithm:
        while algorithm.num_env_steps_sampled_lifetime + algorithm.config.train_batch_size <= 300_000:
            algorithm.train()
        steps = algorithm.num_env_steps_sampled_lifetime
        reached = algorithm.evaluate(100, seed=seed + 1000)["env_runners"]["episode_return_mean"]
    row = {"seed": seed, "within_steps": 300_000, "steps": steps, "return": reached}
    rows = record("central-critic-simple_spread", row)
    file = RESULTS / "learn-ppo-mpe2-simple_spread_v3.json"
    without = [row["return_of_checkpoint_on_other_seeds"] for row in json.loads(file.read_text())]
    if len(rows) == 3:
        assert statistics.mean(row["return"] for row in rows) >= statistics.mean(without)


def record(name, row):
    """Put a row into a file of results, where these are kept; all rows of the file."""
    folder = os.environ.get("RLKIT_RESULTS")
    if not folder:
        return [row]
    file = Path(folder) / f"{name}.json"
    rows = json.loads(file.read_text()) if file.exists() else []
    rows = sorted([r for r in rows if r["seed"] != row["seed"]] + [row], key=lambda r: r["seed"])
    file.write_text(json.dumps(rows, indent=1) + "\n")
    return rows
