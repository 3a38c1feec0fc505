"""A DQN policy outside of training: loaded from a checkpoint, traced and exported by hand."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import load_policy
from rlkit_dqn import DQNConfig, DQNRLModule

SPACE = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)


class Best(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.module = DQNRLModule(
            observation_space=SPACE,
            action_space=gym.spaces.Discrete(5),
            model_config={"fcnet_hiddens": [32], "head_fcnet_hiddens": []},
        )

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return self.module.forward_inference({"obs": obs})["actions"]


def traced(net, obs):
    return torch.jit.trace(net, obs)


def exported(net, obs):
    return torch.export.export(net, (obs,)).module()


@pytest.mark.parametrize("record", [traced, exported])
def test_a_graph_of_one_row_follows_its_observation(record):
    net = Best().eval()
    rows = torch.randn(64, 1, 4)
    with torch.no_grad():
        graph = record(net, rows[0])
        expected = [int(net(row)) for row in rows]
        assert [int(graph(row)) for row in rows] == expected
    assert len(set(expected)) > 1


def test_what_was_trained_is_loaded_to_act(tmp_path):
    config = DQNConfig().environment("CartPole-v1").debugging(seed=0)
    algorithm = config.training(num_steps_sampled_before_learning_starts=0).build_algo()
    try:
        algorithm.train()
        algorithm.save_to_path(tmp_path / "checkpoint")
        obs = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
        expected, _ = algorithm.get_module().compute_actions(obs)
    finally:
        algorithm.stop()
    policy = load_policy(tmp_path / "checkpoint")
    assert [policy(one) for one in obs] == list(expected)
    assert len(set(expected)) == 2
