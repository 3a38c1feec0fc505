"""Uniform actions of every kind of space, in several modules, and what acts afterwards."""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import Columns, RLModuleSpec
from rlkit_core.distributions.units import raw_actions_to_env
from rlkit_core.errors import ConfigError
from rlkit_core.testing import MultiAgentCartPole
from rlkit_offpolicy import RandomWarmup, random_actions

sys.path.insert(0, str(Path(__file__).parent))
from toy import toy

BOX = gym.spaces.Box(np.float32([-2.0, 0.0]), np.float32([2.0, 6.0]))
SPACES = [
    BOX,
    gym.spaces.Box(-1.0, 3.0, (2, 3), np.float32),
    gym.spaces.Discrete(4, start=2),
    gym.spaces.MultiDiscrete([2, 5]),
    gym.spaces.MultiBinary(3),
    gym.spaces.Dict({"a": BOX, "b": gym.spaces.Tuple([gym.spaces.Discrete(3), BOX])}),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
@pytest.mark.parametrize("normalize", [True, False])
def test_uniform_actions_lie_in_the_space_and_reach_its_ends(space, normalize):
    torch.manual_seed(1)
    raw = random_actions(space, (400,), normalize=normalize)
    sampled = [raw_actions_to_env(_row(raw, n), space, normalize=normalize, clip=False) for n in range(400)]
    assert all(space.contains(action) for action in sampled)
    if isinstance(space, gym.spaces.Box):
        stacked, width = np.stack(sampled), space.high - space.low
        assert np.all(stacked.min(0) < space.low + 0.05 * width)
        assert np.all(stacked.max(0) > space.high - 0.05 * width)
        np.testing.assert_allclose(stacked.mean(0), (space.low + space.high) / 2, atol=0.1 * width.max())
    elif isinstance(space, gym.spaces.Discrete):
        assert set(np.unique(sampled)) == {2, 3, 4, 5}


def _row(raw, n):
    if isinstance(raw, dict):
        return {key: _row(value, n) for key, value in raw.items()}
    return tuple(_row(value, n) for value in raw) if isinstance(raw, tuple) else raw[n].numpy()


def test_a_box_without_bounds_is_refused():
    with pytest.raises(ConfigError, match="bounded Box"):
        random_actions(gym.spaces.Box(-np.inf, np.inf, (2,)), (3,))


class AlwaysRight(RandomWarmup):
    """CartPole's action 1, almost surely."""

    def _forward(self, batch, **kwargs):
        return {Columns.ACTION_DIST_INPUTS: torch.tensor([[0.0, 50.0]]).expand(len(batch[Columns.OBS]), 2)}


def test_each_module_warms_up_as_its_own_config_says():
    config = toy(MultiAgentCartPole, num_steps_sampled_before_learning_starts=200)
    config.environment(env_config={"num_agents": 2}).rl_module(
        rl_module_spec=RLModuleSpec(module_class=AlwaysRight),
        algorithm_config_overrides_per_module={"p1": {"warmup": "random"}},
    )
    config.multi_agent(policies=["p0", "p1"], policy_mapping_fn=lambda agent, episode, **kw: f"p{agent}")
    with config.env_runners(rollout_fragment_length=50).build_algo() as algo:
        for _ in range(3):
            algo.training_step()
        one, two = (algo.replay_buffers[mid].sample(400)[Columns.ACTIONS].float().mean() for mid in ("p0", "p1"))
    assert one == 1.0
    assert 0.3 < two < 0.7


def test_noise_is_drawn_for_whole_rollouts_again_afterwards():
    config = toy(warmup="random").env_runners(rollout_fragment_length=8)
    with config.build_algo() as algo:
        sampler = algo.env_runner.loop.sampler(True)
        drawn = []
        for _ in range(5):
            drawn.append(sampler.needs_noise)
            algo.env_runner_group.sample()
    assert drawn == [True, False, False, True, True]  # 20 random steps, then the distribution's own
