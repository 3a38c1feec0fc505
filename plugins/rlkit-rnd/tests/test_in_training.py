"""Curiosity in the training loop: with every algorithm, several agents, other mixins; recorded, saved and resumed."""

from __future__ import annotations

import abc

import gymnasium as gym
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from rlkit_core import Algorithm, ModuleAPI, RLModuleSpec, get_algorithm_config
from rlkit_core import hookimpl as implements
from rlkit_core.cli.app import cli
from rlkit_core.plugins.host import default_host
from rlkit_rnd.api import RND, NoveltyAPI

ppo = pytest.importorskip("rlkit_ppo")

ENV, RND_ID, ID = "CartPole-v1", "rlkit-rnd/rnd", "default_policy"
METRICS = {"rnd_novelty", "rnd_bonus", "rnd_loss"}


def small(env=ENV, *, algo="ppo", mixins=(RND_ID,), **model_config):
    config = get_algorithm_config(algo).environment(env).debugging(seed=3)
    config.rl_module(mixins=list(mixins), model_config={"fcnet_hiddens": [8], "rnd_fcnet_hiddens": [8], **model_config})
    if algo == "ppo":
        config.env_runners(num_envs_per_env_runner=2)
        config.training(train_batch_size=64, minibatch_size=32, num_epochs=2)
    elif algo != "dqn":
        config.training(train_batch_size=100)
    return config


def weights(algo):
    return algo.learner_group.get_weights(inference_only=False).state[ID]


def assert_equal(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value, **{"rtol": 0, "atol": 0, **tolerance}, err_msg=name)


def test_it_is_paid_and_learned_and_left_out_where_nobody_learns():
    with small().build_algo() as algo:
        assert isinstance(algo.learner_group.learner.module[ID].unwrapped(), RND)
        before = weights(algo)
        first, second = (algo.train()["learners"][ID] for _ in range(2))
        after = weights(algo)
        assert not [name for name in algo.get_module().state_dict() if name.startswith("rnd_")]
    assert set(first) >= METRICS
    assert first["rnd_bonus"] == first["rnd_loss"] == 0.0  # observations were not normalised yet
    assert second["rnd_bonus"] > 0
    assert second["rnd_loss"] > 0
    changed = {name for name, value in after.items() if not np.array_equal(value, before[name])}
    assert {name.partition(".")[0] for name in changed if name.startswith("rnd_")} == {
        "rnd_normalizer",
        "rnd_predictor",
    }


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path):
    with small().build_algo() as algo:
        for _ in range(2):
            algo.train()
        path = algo.save_to_path(tmp_path / "checkpoint")
        straight = [algo.train()["learners"] for _ in range(2)]
        final = weights(algo)
    with Algorithm.from_checkpoint(path) as resumed:
        assert str([resumed.train()["learners"] for _ in range(2)]) == str(straight)
        assert_equal(final, weights(resumed))


@pytest.mark.parametrize("algo", ["impala", "appo", "dqn"])
def test_other_algorithms_are_curious_too(algo):
    pytest.importorskip(f"rlkit_{algo}")
    config = small(algo=algo).reporting(min_sample_timesteps_per_iteration=64)
    if algo == "dqn":
        config.training(num_steps_sampled_before_learning_starts=32, train_batch_size=16)
    with config.build_algo() as algo:
        algo.train()
        result = algo.train()["learners"][ID]
    assert result["rnd_bonus"] > 0
    assert result["rnd_loss"] > 0


def test_each_of_several_agents_is_curious_by_itself():
    config = small("rlkit_core.testing:MultiAgentCartPole").environment(env_config={"num_agents": 2})
    config.multi_agent(policies=["0", "1"], policy_mapping_fn=lambda agent, *args, **kwargs: str(agent))
    with config.build_algo() as algo:
        algo.train()
        result = algo.train()["learners"]
    assert result["0"]["rnd_novelty"] != result["1"]["rnd_novelty"]
    assert min(result["0"]["rnd_bonus"], result["1"]["rnd_bonus"]) > 0


def test_a_recorded_step_learns_the_same():
    pytest.importorskip("rlkit_capture")
    learned = []
    for compile in (None, "capture"):
        with small().learners(compile=compile).build_algo() as algo:
            for _ in range(3):
                algo.train()
            learned.append(weights(algo))
    assert_equal(*learned, rtol=1e-5, atol=1e-6)


class SmallWeightsAPI(abc.ABC):
    @abc.abstractmethod
    def weight_penalty(self) -> float: ...


class SmallWeights(SmallWeightsAPI):
    def setup(self):
        super().setup()
        self.penalised = [name for name, _ in self.named_parameters()]

    def weight_penalty(self):
        return 0.125


class SmallWeightsDriver:
    def extra_loss(self, *, learner, module_id, module):
        learner.metrics.log_value((module_id, "penalty"), module.weight_penalty())
        return module.weight_penalty() * sum(p.square().sum() for p in module.pi.parameters())


class Plugin:
    rlkit_api = "1.0"

    @implements
    def rlkit_module_apis(self):
        return [ModuleAPI("small", SmallWeightsAPI, SmallWeightsDriver, implementation=SmallWeights)]


@pytest.mark.parametrize("order", [(RND_ID, "local/small"), ("local/small", RND_ID)])
def test_it_goes_with_another_mixin(order):
    with default_host().temporary():
        default_host().register(Plugin())
        with small(mixins=order).build_algo() as algo:
            algo.train()
            result = algo.train()["learners"][ID]
            module = algo.learner_group.learner.module[ID].unwrapped()
    assert result["penalty"] == 0.125
    assert result["rnd_bonus"] > 0
    sees_it = any(name.startswith("rnd_") for name in module.penalised)
    assert sees_it is (order[0] == "local/small")  # the first one listed is set up last


class CountsCells(ppo.PPOTorchRLModule, NoveltyAPI):
    """A module with a novelty of its own, of large observations."""

    def setup(self):
        super().setup()
        self.offset = torch.nn.Parameter(torch.ones(()))

    def novelty(self, obs):
        return obs.square().mean(-1) * self.offset.square()


def test_a_module_may_say_itself_what_is_new():
    config = small(mixins=()).rl_module(rl_module_spec=RLModuleSpec(CountsCells))
    config.rl_module(model_config={"fcnet_hiddens": [8], "rnd_coeff": 0.5})
    with config.build_algo() as algo:
        result = algo.train()["learners"][ID]
        assert result["rnd_novelty"] > 0
        assert result["rnd_bonus"] > 0
        assert algo.learner_group.learner.module[ID].offset < 1  # learned to expect what it sees


def test_its_networks_are_those_of_a_slot():
    config = small().rl_module(components={"encoder@rnd": "rlkit-core/mlp"})
    with config.build_algo() as algo:
        module = algo.learner_group.learner.module[ID].unwrapped()
        assert {"encoder", "rnd"} <= {row["slot"] for row in module.component_trace() if row["kind"] == "encoder"}
        first = next(p for name, p in module.rnd_predictor.named_parameters() if name.endswith("weight"))
        assert first.shape == (8, 4)


@pytest.mark.parametrize("memory", [{"use_lstm": True, "lstm_cell_size": 4, "max_seq_len": 8}])
def test_with_a_memory_it_sees_one_observation_at_a_time(memory):
    with small(**memory, normalize_observations=True).build_algo() as algo:
        algo.train()
        assert algo.train()["learners"][ID]["rnd_bonus"] > 0


def test_graphs_can_be_new():
    pytest.importorskip("rlkit_graph")
    with small("rlkit-graph/OpenDoor-v0", graph_width=8).build_algo() as algo:
        assert algo.train()["learners"][ID]["rnd_bonus"] > 0  # choices need no statistics


def test_the_command_takes_it_and_its_settings():
    def explain(setting):
        arguments = ["explain", "ppo", ENV, "--set", f"mixins={RND_ID}", "--set", f"model_config.{setting}=0.05"]
        return CliRunner().invoke(cli, arguments)

    told = explain("rnd_coeff")
    assert told.exit_code == 0, told.output
    assert "rlkit-rnd/rnd" in told.output
    refused = explain("rnd_coef")
    assert "Did you mean 'rnd_coeff'" in refused.output + str(refused.exception)


def test_the_env_brings_a_preset_with_it():
    config = ppo.PPOConfig().environment("rlkit-rnd/Uphill-v0")
    assert config.apply_preset()
    assert config.mixins == [RND_ID]
    assert gym.spec("rlkit-rnd/Uphill-v0").max_episode_steps == 80
