"""Algorithms whose learners are elsewhere: they train, save, restore, and change their modules like any other."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from rlkit_core import RLModuleSpec
from rlkit_core.errors import ActorError
from rlkit_ppo import PPOConfig

MID = "default_policy"


def config_for(num_learners, **model_config):
    return (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_envs_per_env_runner=3)
        .training(train_batch_size=120, minibatch_size=25, num_epochs=2, use_kl_loss=True, reward_scaling=True)
        .rl_module(model_config={"fcnet_hiddens": [16], **model_config})
        .learners(num_learners=num_learners)
        .debugging(seed=4)
    )


def weights(algo):
    return algo.learner_group.get_weights(inference_only=False).state[MID]


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def by_learner(algo):
    return algo.learner_group.foreach_learner(
        lambda one: (
            torch.cat([p.detach().reshape(-1) for p in one.module.parameters()]),
            float(one._kl_coeff["default_policy"]),
            [b.clone() for b in one.module["default_policy"].buffers()],
        )
    )


def test_one_learner_elsewhere_is_one_here():
    with config_for(0).build_algo() as here, config_for(1).build_algo() as there:
        for _ in range(2):
            results = [algo.train()["learners"] for algo in (here, there)]
        assert results[0] == results[1]
        assert_same_weights(weights(here), weights(there))


def test_one_learner_elsewhere_replays_what_one_here_does_step_by_step():
    there = config_for(1).learners(compile="capture")
    with config_for(0).build_algo() as eager, there.build_algo() as captured:
        for _ in range(3):
            results = [algo.train()["learners"] for algo in (eager, captured)]
            assert results[0] == results[1]
        assert_same_weights(weights(eager), weights(captured))
        (recorded,) = captured.learner_group.foreach_learner(
            lambda learner: [one is not None for one in learner.engine.steps.values()]
        )
        assert recorded
        assert all(recorded)


def test_two_learners_train_save_and_go_on(tmp_path):
    """Rollouts of three envs: one for the first learner, two for the second."""
    config = config_for(2, normalize_observations=True)
    with config.build_algo() as algo:
        first = algo.train()
        assert first["learners"][MID]["num_module_steps_trained"] == 120
        path = algo.save_to_path(tmp_path / "checkpoint")
        results = [algo.train() for _ in range(2)]
        (one, kl, buffers), (two, other_kl, other_buffers) = by_learner(algo)
        assert torch.equal(one, two)
        assert kl == other_kl
        assert buffers
        assert all(torch.equal(a, b) for a, b in zip(buffers, other_buffers, strict=True))
        counts = [float(b) for b in buffers if b.dim() == 0]
        assert set(counts) == {360.0}  # all observations of both learners
        # Modules come and go, and the runners follow.
        algo.add_module("p1", RLModuleSpec(), config_overrides={"lr": 1e-4})
        assert algo.learner_group.config.get_config_for_module("p1").lr == 1e-4
        algo.train()
        algo.remove_module("p1")
        with pytest.raises(KeyError):
            algo.remove_module("p1")

        algo.restore_from_path(path)
        assert algo.learner_group.module_ids == [MID]
        again = [algo.train() for _ in range(2)]
        for before, after in zip(results, again, strict=True):
            assert before["learners"] == after["learners"]
            assert (
                before["env_runners"]["num_env_steps_sampled_lifetime"]
                == (after["env_runners"]["num_env_steps_sampled_lifetime"])
            )
        (again_one, *_), (again_two, *_) = by_learner(algo)
        assert torch.equal(one, again_one)
        assert torch.equal(two, again_two)


def test_an_algorithm_gets_back_modules_that_learners_elsewhere_have(tmp_path):
    with config_for(0).build_algo() as source:
        source.add_module("p1", RLModuleSpec())
        path = source.save_to_path(tmp_path / "with-p1")
        expected = weights(source)
    with config_for(1).build_algo() as algo:
        algo.restore_from_path(path)
        assert sorted(algo.learner_group.module_ids) == [MID, "p1"]
        assert algo.get_module("p1") is not None
        assert_same_weights(weights(algo), expected)
        algo.restore_from_path(
            f"{path}/learner_group/learner/rl_module/p1",
            component=f"learner_group/learner/rl_module/{MID}",
        )
        state = algo.learner_group.get_weights(inference_only=False).state
        assert_same_weights(state[MID], state["p1"])
        assert algo.train()["learners"][MID]["weights_seq_no"] == 1


def test_results_count_the_learners_that_were_started_again_and_a_lost_group_names_the_checkpoint(tmp_path):
    with config_for(2).build_algo() as algo:
        assert algo.train()["fault_tolerance"]["num_learner_restarts"] == 0
        saved = algo.save_to_path(tmp_path / "saved")
        pids = algo.learner_group.foreach_learner(lambda learner: os.getpid())
        os.kill(pids[1], signal.SIGKILL)
        result = algo.train()
        assert result["fault_tolerance"]["num_learner_restarts"] == 1
        assert result["num_env_steps_sampled_lifetime"] == 240
        for pid in algo.learner_group.foreach_learner(lambda learner: os.getpid()):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(ActorError, match=rf"no learner of 2 is left.*newest checkpoint is {saved}.*SIGKILL"):
            algo.train()
    with type(algo).from_checkpoint(saved) as again:
        assert again.iteration == 1
        assert again.train()["training_iteration"] == 2
