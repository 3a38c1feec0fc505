"""Behaviour cloning of a trained policy: what a bare Learner must be able to learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actor_critic import rows_to_clone
from rlkit_core import Columns, MultiRLModuleSpec, RLModuleSpec
from rlkit_core.checkpoint import save_tree
from rlkit_core.errors import ConfigError
from rlkit_core.testing import BCConfigTest

START, GOAL = 0.69, 0.57


def draw(rows, generator, count=512):
    chosen = torch.randint(0, len(rows[Columns.OBS]), (count,), generator=generator)
    return {name: column[chosen] for name, column in rows.items()}


@pytest.mark.parametrize("ids", [("default_policy",), ("p0", "p1")])
def test_a_bare_learner_clones_a_policy(ids):
    config = BCConfigTest().environment("CartPole-v1").training(lr=1e-3).debugging(seed=2)
    if len(ids) > 1:
        config.multi_agent(policies=ids)
        config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={mid: RLModuleSpec() for mid in ids}))
    learner = config.build_learner()
    learner.build()
    generator = torch.Generator().manual_seed(0)
    losses: dict[str, list[float]] = {mid: [] for mid in ids}
    for _ in range(1000):
        result = learner.update({mid: draw(rows_to_clone(), generator) for mid in ids})
        for mid in ids:
            losses[mid].append(result[mid]["total_loss"])
        if all(np.mean(losses[mid][-10:]) < GOAL for mid in ids):
            break
    for mid in ids:
        assert losses[mid][0] == pytest.approx(START, abs=0.05)
        assert np.mean(losses[mid][-10:]) < GOAL, f"{mid} after {len(losses[mid])} updates"


def balance(obs):
    return (obs[:, 2] + 0.5 * obs[:, 3] > 0).astype(np.int64)


def test_the_algorithm_clones_an_expert():
    config = (
        BCConfigTest()
        .environment("CartPole-v1")
        .env_runners(num_envs_per_env_runner=8)
        .training(expert=balance, lr=0.02, train_batch_size=512, num_epochs=4, minibatch_size=128)
        .debugging(seed=1)
    )
    with config.build_algo() as algo:
        first = algo.train()["learners"]["default_policy"]["total_loss"]
        for _ in range(14):
            result = algo.train()
        assert first > 0.3
        assert result["learners"]["default_policy"]["total_loss"] < 0.2
        assert algo.evaluate(4)["env_runners"]["episode_return_mean"] > 100


def test_the_algorithm_clones_recorded_rows(tmp_path):
    obs = np.random.default_rng(0).normal(size=(4096, 4)).astype(np.float32)
    save_tree({"obs": obs, "actions": balance(obs)}, tmp_path)
    config = BCConfigTest().environment("CartPole-v1").debugging(seed=1)
    config.training(rows_path=tmp_path, lr=0.02, train_batch_size=1024)
    with config.build_algo() as algo:
        for _ in range(60):
            result = algo.train()
        assert result["learners"]["default_policy"]["total_loss"] < 0.2


def test_nobody_to_clone():
    with BCConfigTest().environment("CartPole-v1").build_algo() as algo, pytest.raises(ConfigError, match="nobody"):
        algo.train()
