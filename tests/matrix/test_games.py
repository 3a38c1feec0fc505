"""All four algorithms on envs of agents that act at once, and of agents that act in turn under a mask."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pettingzoo")
sys.path.insert(0, str(Path(__file__).parent))
from cells import ALGORITHMS, Cell, make_config

from rlkit_core import Algorithm
from rlkit_core.testing import MultiAgentCartPole


def seat(agent, episode, **kwargs):
    """Tic-tac-toe's players, and CartPole's agents, by number."""
    return f"p{int(str(agent)[-1]) % 2}"


def config_of(algorithm, env, processes):
    config = make_config(Cell(algorithm, "mlp", processes=processes))
    config.environment(env, env_config={"num_agents": 2} if env is MultiAgentCartPole else {})
    config.env_runners(num_envs_per_env_runner=2, rollout_fragment_length=8)
    config.multi_agent(policies=["p0", "p1"], policy_mapping_fn=seat)
    return config.reporting(min_sample_timesteps_per_iteration=64).debugging(seed=2)


ENVS = {"cartpole": MultiAgentCartPole, "tictactoe": "classic/tictactoe_v3"}


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_both_modules_learn_and_are_saved(algorithm, env, processes, tmp_path):
    with config_of(algorithm, ENVS[env], processes).build_algo() as algo:
        before = algo.learner_group.get_weights(inference_only=False).state
        result = algo.train()
        result = algo.train()
        after = algo.learner_group.get_weights(inference_only=False).state
        for module_id in ("p0", "p1"):
            assert np.isfinite(result["learners"][module_id]["total_loss"])
            assert result["learners"][module_id]["num_module_steps_trained_lifetime"] > 0
            assert not all(np.array_equal(before[module_id][k], after[module_id][k]) for k in before[module_id])
        assert result["env_runners"]["num_episodes_lifetime"] > 0
        path = algo.save_to_path(tmp_path / "saved")
        assert algo.evaluate(num_episodes=3)["env_runners"]["num_episodes"] == 3
        if not processes:
            with Algorithm.from_checkpoint(path, policy_mapping_fn=seat) as again:
                saved = again.learner_group.get_weights(inference_only=False).state
                for module_id in after:
                    assert all(np.array_equal(after[module_id][k], saved[module_id][k]) for k in after[module_id])
                again.train()
        else:
            algo.train()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_modules_come_and_go_while_it_trains(algorithm):
    with config_of(algorithm, MultiAgentCartPole, processes=False).build_algo() as algo:
        algo.train()
        spec = algo.module_set.specs["p1"]
        frozen = algo.learner_group.get_weights(inference_only=False).state["p1"]
        algo.add_module(
            "past",
            spec.copy(),
            new_agent_to_module_mapping_fn=lambda agent, episode, **kw: "past" if str(agent) == "1" else "p0",
            new_should_module_be_updated=["p0", "p1"],
        )
        algo.learner_group.set_weights({"past": frozen})
        algo.sync_weights()
        before = algo.learner_group.get_weights(inference_only=False).state["past"]
        for _ in range(3):
            result = algo.train()
        after = algo.learner_group.get_weights(inference_only=False).state["past"]
        assert all(np.array_equal(before[name], after[name]) for name in before)
        assert "num_module_steps_trained" not in result["learners"].get("past", {})
        algo.remove_module("past", new_agent_to_module_mapping_fn=seat)
        result = algo.train()
        assert result["learners"]["p1"]["num_module_steps_trained_lifetime"] > 0
        if algorithm == "dqn":
            assert sorted(algo.replay_buffers) == ["p0", "p1"]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_two_runs_of_one_seed_are_equal(algorithm):
    found = []
    for _ in range(2):
        with config_of(algorithm, "classic/tictactoe_v3", processes=False).build_algo() as algo:
            algo.train()
            algo.train()
            found.append(algo.learner_group.get_weights(inference_only=False).state)
    for module_id in ("p0", "p1"):
        for name, value in found[0][module_id].items():
            assert np.array_equal(value, found[1][module_id][name])
