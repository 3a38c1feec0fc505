"""DQN with several modules: whose settings may differ, what is counted, what goes when a module goes."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit_core import Algorithm, RLModuleSpec
from rlkit_core.testing import MultiAgentCartPole
from rlkit_dqn import DQNConfig
from rlkit_offpolicy import PrioritizedReplayBuffer


def config(**training):
    settings = {
        "train_batch_size": 8,
        "num_steps_sampled_before_learning_starts": 16,
        "replay_buffer_config": {"capacity": 200},
        "hiddens": [8],
    }
    return (
        DQNConfig()
        .environment(MultiAgentCartPole, env_config={"num_agents": 2})
        .env_runners(num_envs_per_env_runner=2, rollout_fragment_length=4)
        .training(**{**settings, **training})
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .multi_agent(policies=["p0", "p1"], policy_mapping_fn=lambda agent, episode, **kw: f"p{agent}")
        .reporting(min_sample_timesteps_per_iteration=64)
        .debugging(seed=1)
    )


def test_each_module_has_a_buffer_of_its_own_and_all_are_counted_in_env_steps():
    overrides = {
        "p1": {"gamma": 0.5, "n_step": 3, "replay_buffer_config": {"type": "uniform", "capacity": 64}, "epsilon": 0.0}
    }
    made = config(training_intensity=4.0).rl_module(algorithm_config_overrides_per_module=overrides)
    with made.build_algo() as algo:
        for _ in range(2):
            algo.training_step()
        assert algo.num_env_steps_sampled_lifetime == 16
        result = algo.train()
        one, two = algo.replay_buffers["p0"], algo.replay_buffers["p1"]
        assert isinstance(one, PrioritizedReplayBuffer)
        assert not isinstance(two, PrioritizedReplayBuffer)
        assert ((one.gamma, one.n_step), (two.gamma, two.n_step)) == ((0.99, (1, 1)), (0.5, (3, 3)))
        # Rows trained per env step, from the round on in which there were 16 (a round is 8).
        rounds = algo.num_env_steps_sampled_lifetime // 8 - 1
        for buffer in (one, two):
            assert buffer.num_env_steps_sampled_lifetime == rounds * 8 * 4
        steps = result["learners"]
        assert steps["p0"]["num_module_steps_trained_lifetime"] == rounds * 32
        assert steps["p1"]["num_module_steps_trained_lifetime"] == rounds * 32
        assert len(two) <= 64 < one.num_env_steps_added_lifetime
        epsilons = [algo.get_module(mid).unwrapped().model_config["epsilon"] for mid in ("p0", "p1")]
        assert epsilons[0] != epsilons[1] == 0.0


def test_the_target_networks_follow_by_each_modules_own_clock():
    overrides = {"p1": {"target_network_update_freq": 40}}
    made = config(target_network_update_freq=8).rl_module(algorithm_config_overrides_per_module=overrides)
    with made.build_algo() as algo:
        results = algo.train()["learners"]
    assert results["p0"]["num_target_updates"] > results["p1"]["num_target_updates"] >= 1


def test_what_nobody_trains_is_kept_nowhere():
    with config().multi_agent(policies_to_train=["p0"]).build_algo() as algo:
        before = algo.learner_group.get_weights().state["p1"]
        algo.train()
        assert list(algo.replay_buffers) == ["p0"]
        after = algo.learner_group.get_weights().state["p1"]
        assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_buffer_of_a_module_that_goes_goes_too():
    with config().build_algo() as algo:
        algo.train()
        algo.remove_module("p1", new_agent_to_module_mapping_fn=lambda agent, episode, **kw: "p0")
        assert list(algo.replay_buffers) == ["p0"]
        algo.train()
        algo.add_module("p1", RLModuleSpec(), new_agent_to_module_mapping_fn=lambda agent, episode, **kw: f"p{agent}")
        algo.train()
        assert sorted(algo.replay_buffers) == ["p0", "p1"]
        assert algo.replay_buffers["p1"].num_env_steps_added_lifetime <= 2 * 64 + 16


def test_checkpoints_hold_the_buffers_of_all_modules(tmp_path):
    mapping = {"policy_mapping_fn": None}
    made = config().multi_agent(policies=["0", "1"], **mapping)
    made.environment(MultiAgentCartPole, env_config={"num_agents": 2})
    made.multi_agent(policy_mapping_fn=lambda agent, episode, **kw: str(agent))
    with made.build_algo() as algo:
        algo.train()
        path = algo.save_to_path(tmp_path / "saved")
        saved = algo.get_state()
        with Algorithm.from_checkpoint(path, policy_mapping_fn=made.policy_mapping_fn) as again:
            assert sorted(again.replay_buffers) == ["0", "1"]
            for module_id, buffer in again.replay_buffers.items():
                state = saved["replay_buffers"]["buffers"][module_id]
                assert len(buffer) == len(algo.replay_buffers[module_id])
                assert buffer.num_env_steps_added_lifetime == state["num_env_steps_added_lifetime"]
            for runs in (algo, again):
                runs.train()
            one, two = (runs.learner_group.get_weights().state for runs in (algo, again))
            for module_id in ("0", "1"):
                assert all(np.array_equal(one[module_id][name], two[module_id][name]) for name in one[module_id])


@pytest.mark.parametrize("name", ["num_steps_sampled_before_learning_starts", "training_intensity", "train_batch_size"])
def test_settings_of_the_loop_are_those_of_all_modules(name):
    with pytest.raises(Exception, match=f"module 'p1': {name} cannot differ between modules, since one update"):
        config().rl_module(algorithm_config_overrides_per_module={"p1": {name: 3}})
