"""Acting through a rollout on numpy rows: the same as the forwards, and only where nothing is lost by it."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import RLModuleSpec
from rlkit_core.envs import EnvRunner
from rlkit_core.rl_module.acting import ActionSampler
from rlkit_core.seeding import TorchRNG
from rlkit_dqn import DQNCatalog, DQNConfig, DQNTorchRLModule

BOX = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)


def make(module_class=DQNTorchRLModule, action_space=None, **settings):
    torch.manual_seed(0)
    spec = RLModuleSpec(
        module_class=module_class,
        catalog_class=DQNCatalog,
        observation_space=BOX,
        action_space=action_space or gym.spaces.Discrete(3),
        model_config={"fcnet_hiddens": [8], "head_fcnet_hiddens": [8], **settings},
        inference_only=True,
    )
    return spec.build().eval()


def policy_of(module, *, explore=True, timesteps=range(4), num_envs=2, seed=0):
    return ActionSampler(module, explore=explore).row_policy(timesteps, num_envs, TorchRNG(seed))


@pytest.mark.parametrize(("explore", "epsilon"), [(False, 1.0), (True, 0.0)])
@pytest.mark.parametrize("num_envs", [1, 5])
def test_best_actions_are_those_of_the_forward(explore, epsilon, num_envs):
    module = make(epsilon=epsilon)
    obs = np.random.default_rng(0).uniform(-1, 1, (50, num_envs, 4)).astype(np.float32)
    for _ in range(2):
        policy = policy_of(module, explore=explore, num_envs=num_envs)
        for rows in obs:
            expected = module.forward_inference({"obs": torch.from_numpy(rows)})["actions"]
            assert policy(0, rows).tolist() == expected.tolist()
        module.set_state({k: -v for k, v in module.get_state().items()})  # the next policy sees new weights


def test_one_observation_and_a_rollout_of_one_draw_alike():
    module = make(epsilon=1.0)
    obs = np.ones((1, 4), np.float32)
    with torch.inference_mode():  # as who acts on single observations does
        first = [policy_of(module, timesteps=[0], num_envs=1, seed=k)(0, obs).item() for k in range(20)]
    assert [policy_of(module, timesteps=[0], num_envs=1, seed=k)(0, obs).item() for k in range(20)] == first
    assert len(set(first)) == 3


def test_epsilon_follows_its_schedule_step_by_step_and_row_by_row():
    module = make(epsilon=[[0, 1.0], [20_000, 0.0]])
    timesteps = [0] * 4000 + [10_000] * 4000 + [20_000] * 4000
    policy = policy_of(module, timesteps=timesteps)
    obs = np.ones((2, 4), np.float32)
    best = int(module.forward_inference({"obs": torch.from_numpy(obs)})["actions"][0])
    actions = np.array([policy(t, obs) for t in range(len(timesteps))]).reshape(3, 4000, 2)
    for rows, share in zip(actions, (1.0, 0.5, 0.0), strict=True):
        for n in range(2):
            for action in range(3):
                expected = share / 3 + (1 - share) * (action == best)
                assert (rows[:, n] == action).mean() == pytest.approx(expected, abs=0.04)
    middle = actions[1]
    assert (middle[:, 0] != middle[:, 1]).mean() > 0.1  # each row draws for itself


def test_draws_come_from_the_stream_and_are_the_same_for_the_same_seed():
    module, obs, rng = make(epsilon=1.0), np.zeros((2, 4), np.float32), TorchRNG(5)
    sampler = ActionSampler(module, explore=True)

    def draw():
        policy = sampler.row_policy(range(30), 2, rng)
        return [policy(t, obs).tolist() for t in range(30)]

    outside = torch.get_rng_state()
    first, state, second = draw(), rng.get_state(), draw()
    assert first != second
    rng.set_state(state)
    assert draw() == second
    assert torch.equal(torch.get_rng_state(), outside)


class OwnExploration(DQNTorchRLModule):
    def _forward_exploration(self, batch, t=None):
        return {"actions": torch.full((len(batch["obs"]),), 2), "extra": batch["obs"][:, 0]}


class OwnValues(DQNTorchRLModule):
    def compute_q_values(self, batch):
        return super().compute_q_values(batch)


@pytest.mark.parametrize(
    "module",
    [
        make(OwnExploration),
        make(OwnValues),
        make(num_atoms=5),
        make(noisy=True),
        make(use_lstm=True, lstm_cell_size=8),
        make(action_space=gym.spaces.MultiDiscrete([2, 2])),
        make(always_check_shapes=True),
    ],
    ids=["exploration", "values", "atoms", "noisy", "lstm", "joint", "checked"],
)
def test_a_module_that_does_more_has_none(module):
    assert policy_of(module) is None


def test_neither_where_someone_listens_or_envs_are_many():
    module = make()
    assert policy_of(module) is not None
    assert policy_of(module, num_envs=500) is None
    hook = module.encoder.register_forward_hook(lambda *_: None)
    assert policy_of(module) is None
    hook.remove()
    module._forward_exploration = lambda batch, t=None: {}
    assert policy_of(module) is None


def test_a_runner_records_what_was_done():
    config = DQNConfig().environment("CartPole-v1").debugging(seed=3)
    config.rl_module(model_config={"fcnet_hiddens": [8], "head_fcnet_hiddens": [8]})
    runner = EnvRunner(config, num_envs=2)
    rollout = runner.sample(num_timesteps=40, timestep=10**9, explore=False)["default_policy"]
    expected = runner.acting_module.forward_inference({"obs": rollout["obs"].reshape(-1, 4)})["actions"]
    assert rollout["actions"].reshape(-1).tolist() == expected.tolist()
    assert not rollout["actions"].is_inference()
