"""Examples of RLlib's, written anew by `docs/how-to/from-rllib.md` alone: they run, and do what they are about."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples" / "from_rllib"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))


def load(name):
    """An example as a module."""
    full = f"from_rllib_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, EXAMPLES / f"{name}.py")
        module = sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[full]


def small(config):
    """One short iteration."""
    return config.training(train_batch_size=160, minibatch_size=80, num_epochs=1)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_short_and_says_where_it_comes_from(name):
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert ", after RLlib's `examples/" in text.partition("\n")[0]


def test_an_env_of_ones_own_pays_at_its_end():
    example = load("custom_env")
    env = example.Corridor(length=3)
    assert env.reset(seed=1)[0] == [0.0]
    assert env.step(example.LEFT)[0] == [0.0]
    assert env.step(example.RIGHT)[1:3] == (-0.01, False)
    seen, reward, terminated, *_ = env.step(example.RIGHT)
    assert seen == [2.0]
    assert 0.5 <= reward <= 1.5
    assert terminated
    with small(example.make_config(length=4)).build_algo() as algo:
        assert algo.train()["env_runners"]["num_episodes"] > 0


def test_no_closed_door_is_tried():
    """The env raises where one is."""
    example = load("action_masking")
    with small(example.make_config()).build_algo() as algo:
        algo.train()
        assert algo.evaluate(2)["env_runners"]["episode_return_mean"] > 0
        module = algo.get_module()
    mask = np.zeros((50, 6), np.float32)
    mask[:, 4] = 1.0
    actions, _ = module.compute_actions({"action_mask": mask, "prizes": np.random.rand(50, 6)}, explore=True)
    assert set(actions.tolist()) == {4}


def test_the_loss_has_its_term():
    example = load("custom_loss")
    learned = {}
    for coefficient in (0.0, 1e3):
        with small(example.make_config(coefficient)).build_algo() as algo:
            learned[coefficient] = algo.train()["learners"]["default_policy"]
    more = learned[1e3]["total_loss"] - learned[0.0]["total_loss"]
    assert more == pytest.approx(1e3 * learned[1e3]["weight_size"], rel=0.1)


def test_rare_cells_pay_in_the_update_and_not_in_returns():
    example = load("count_based_curiosity")
    with small(example.make_config(coefficient=5.0)).build_algo() as algo:
        result = algo.train()
    learned = result["learners"]["default_policy"]
    assert learned["cells_seen"] > 3
    assert learned["bonus"] > 0.5
    assert result["env_runners"].get("episode_return_mean", 0.0) <= 1.0


def test_one_of_three_modules_learns_against_rules():
    example = load("heuristics_and_learned")
    beats = example.BeatsLast(
        observation_space=example.RockPaperScissors.observation_space,
        action_space=example.RockPaperScissors.action_space,
    )
    assert beats.compute_actions(np.array([0, 1, 2, 3]))[0].tolist() == [1, 2, 0, 0]
    with small(example.make_config()).build_algo() as algo:
        result = algo.train()
    assert set(result["learners"]) == {"learned", "__all_modules__"}
    assert set(result["env_runners"]["module_episode_returns_mean"]) == {"learned", "beats_last", "repeats_last"}


def test_the_second_action_is_scored_with_the_first_that_was_taken():
    example = load("autoregressive_actions")
    with small(example.make_config()).build_algo() as algo:
        algo.train()
        module = algo.get_module()
    obs = torch.rand(64, 1)
    with torch.no_grad():
        acted = module._forward_exploration({"obs": obs})
        again = module._forward_train({"obs": obs, "actions": acted["actions"]})
    assert torch.equal(acted["action_dist_inputs"], again["action_dist_inputs"])
    actions, _ = module.compute_actions(obs.numpy())
    assert set(actions[0].tolist()) <= {0, 1, 2}
    assert actions[1].shape == (64, 1)


@pytest.mark.slow
def test_the_second_action_learns_to_answer_the_first():
    example = load("autoregressive_actions")
    with example.make_config().build_algo() as algo:
        for _ in range(25):
            algo.train()
        assert algo.evaluate(200)["env_runners"]["episode_return_mean"] > -0.35
