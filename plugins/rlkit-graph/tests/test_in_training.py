"""Graphs in the training loop: how the encoder is chosen and set, and that all the core promises holds with it."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Graph

from rlkit_core import Algorithm, get_algorithm_config
from rlkit_core.errors import ConfigError, RLKitError
from rlkit_core.testing import RandomEnv
from rlkit_graph.catalog import GraphCatalog

ppo = pytest.importorskip("rlkit_ppo")

ENV = "rlkit-graph/OpenDoor-v0"
NAME = "rlkit-graph/message-passing"


def small(env=ENV, env_config=None, **model_config):
    return (
        ppo.PPOConfig()
        .environment(env, env_config=env_config or {})
        .env_runners(num_envs_per_env_runner=2)
        .training(train_batch_size=64, minibatch_size=32, num_epochs=2)
        .rl_module(model_config={"graph_width": 8, "fcnet_hiddens": [8], **model_config})
        .debugging(seed=3)
    )


def weights(algo):
    return algo.learner_group.get_weights(inference_only=False).state["default_policy"]


def assert_equal(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value, **{"rtol": 0, "atol": 0, **tolerance}, err_msg=name)


def test_it_fills_the_gap_and_every_setting_reaches_it():
    chosen = {
        "graph_rounds": 3,
        "graph_width": 5,
        "graph_aggregation": "mean",
        "graph_pooling": "max",
        "graph_both_ways": True,
        "graph_max_nodes": 7,
    }
    for settings, expected in [
        ({"graph_width": 8}, (2, 8, "sum", "mean", False)),
        (chosen, (3, 5, "mean", "max", True)),
    ]:
        with small(**settings).build_algo() as algo:
            encoder = algo.get_module().encoder.actor_encoder
            trace = algo.get_module().component_trace()
        config = encoder.config
        assert (config.rounds, config.width, config.aggregation, config.pooling, config.both_ways) == expected
        assert len(encoder.rounds) == expected[0]
        assert encoder.readout.config.hidden_layer_dims == (8,)
        assert next(row for row in trace if row["kind"] == "encoder")["rule"] == "gap filler"


@pytest.mark.parametrize(
    ("model_config", "message"),
    [
        ({"graph_round": 1}, "Did you mean 'graph_rounds'"),
        ({"graph_rounds": -1}, "graph_rounds"),
        ({"graph_pooling": "median"}, "graph_pooling.*median"),
    ],
)
def test_a_wrong_setting_is_refused(model_config, message):
    with pytest.raises(RLKitError, match=message):
        small(**model_config).build_algo()


@pytest.mark.parametrize("catalog", ["rlkit-graph", GraphCatalog])
def test_the_catalog_names_it(catalog):
    with small().rl_module(catalogs=[catalog]).build_algo() as algo:
        (row,) = [row for row in algo.get_module().component_trace() if row["kind"] == "encoder"]
        algo.train()
    assert row["id"] == NAME
    assert row["rule"] != "gap filler"


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path):
    with small().build_algo() as algo:
        algo.train()
        path = algo.save_to_path(tmp_path / "checkpoint")
        algo.train()
        final = weights(algo)
    with Algorithm.from_checkpoint(path) as resumed:
        resumed.train()
        assert_equal(final, weights(resumed))


def test_a_recorded_step_learns_the_same():
    pytest.importorskip("rlkit_capture")
    learned = []
    for compile in (None, "capture"):
        with small(graph_both_ways=True).learners(compile=compile).build_algo() as algo:
            for _ in range(2):
                algo.train()
            learned.append(weights(algo))
    assert_equal(*learned, rtol=1e-5, atol=1e-6)


def test_a_part_of_an_observation_under_a_memory():
    graphs = Graph(Box(-1, 1, (2,)), Box(-1, 1, (3,)))
    spaces = {"observation_space": Dict(map=graphs, x=Box(-1, 1, (2,))), "action_space": Discrete(3)}
    memory = {"use_lstm": True, "lstm_cell_size": 4, "max_seq_len": 8, "fusionnet_hiddens": [8]}
    with small(RandomEnv, spaces, normalize_observations=True, **memory).build_algo() as algo:
        before = weights(algo)
        algo.train()
        changed = [name for name, value in weights(algo).items() if not np.array_equal(value, before[name])]
        assert any("rounds.1.told" in name for name in changed)
        seen = [algo.get_module().observation_space.sample() for _ in range(2)]
        obs = {"map": [one["map"] for one in seen], "x": np.stack([one["x"] for one in seen])}
        assert algo.get_module().compute_actions(obs)[0].shape == (2,)


def test_a_replay_buffer_needs_graphs_of_one_size():
    pytest.importorskip("rlkit_dqn")

    def trained(**model_config):
        config = get_algorithm_config("dqn").environment(ENV).debugging(seed=1)
        config.rl_module(model_config={"graph_width": 8, "fcnet_hiddens": [8], **model_config})
        config.training(num_steps_sampled_before_learning_starts=32, train_batch_size=16)
        with config.build_algo() as algo:
            before = weights(algo)
            for _ in range(20):
                algo.training_step()
            return any(not np.array_equal(value, before[name]) for name, value in weights(algo).items())

    assert trained(graph_max_nodes=6, graph_max_edges=32)
    with pytest.raises(ConfigError, match="has to be of one shape"):
        trained()


def test_the_env_brings_its_preset():
    config = ppo.PPOConfig().environment(ENV).rl_module(model_config={"graph_width": 16})
    assert config.apply_preset()
    assert config.gamma == 0.0
    assert config.model_config["graph_rounds"] == 1
    assert config.model_config["graph_width"] == 16  # the user's
    assert gym.spec(ENV).max_episode_steps == 10
