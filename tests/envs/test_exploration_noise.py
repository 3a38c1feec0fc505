"""Exploration noise in runners: what the distribution draws from, per env and slot, across rollouts and checkpoints."""

from __future__ import annotations

import contextlib

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core import Columns, RLModuleSpec, TorchRLModule
from rlkit_core.envs.runner_actors import make_runner
from rlkit_core.errors import ConfigError
from rlkit_core.testing import RandomEnv, make_multi_agent

ID = "default_policy"
BOX = gym.spaces.Box
SPACES = {"observation_space": BOX(-1.0, 1.0, (2,)), "action_space": BOX(-2.0, 2.0, (2,)), "p_terminated": 0.2}


def config(noise="ou", env=RandomEnv, module=None, **env_config):
    made = ACConfig().environment(env, env_config={**SPACES, **env_config})
    made.env_runners(num_envs_per_env_runner=3, rollout_fragment_length=10, exploration_noise=noise)
    made.rl_module(model_config={"fcnet_hiddens": [4]}).debugging(seed=1)
    if module is not None:
        made.rl_module(rl_module_spec=RLModuleSpec(module_class=module))
    return made.training(train_batch_size=30, minibatch_size=None, num_epochs=1)


@contextlib.contextmanager
def running(config):
    runner = make_runner(config, worker_index=0)
    yield runner
    runner.stop()


def drawn(rollout):
    """The noise that actions were drawn by, ``[T, N, D]``."""
    loc, log_scale = rollout[Columns.ACTION_DIST_INPUTS].chunk(2, -1)
    return (rollout[Columns.ACTIONS] - loc) * (-log_scale).exp()


def lag_one(noise):
    flat = noise.flatten(1)
    return float((flat[:-1] * flat[1:]).mean())


def sampled(config, rollouts):
    with running(config) as runner:
        return torch.cat([drawn(runner.sample(num_timesteps=30)[ID].clone()) for _ in range(rollouts)])


@pytest.mark.parametrize("noise", [{"type": "ou", "theta": 0.05, "length": 16}, {"type": "pink", "length": 64}])
def test_actions_are_drawn_by_it_across_rollouts_and_episodes(noise):
    rows = sampled(config(noise), 40)
    assert rows.std().item() == pytest.approx(1.0, abs=0.25)
    assert lag_one(rows) > 0.6
    across = torch.cat([rows[9::10][:-1], rows[10::10]], -1)  # the last row of a rollout, and the first of the next
    assert float((across[..., :2] * across[..., 2:]).mean()) > 0.5
    assert abs(lag_one(sampled(config("independent"), 40))) < 0.12


def test_log_probabilities_are_those_of_the_marginal():
    with running(config("pink")) as runner:
        rollout = runner.sample()[ID]
        dist = runner.acting_module.get_exploration_action_dist_cls().from_logits(rollout[Columns.ACTION_DIST_INPUTS])
        torch.testing.assert_close(rollout[Columns.ACTION_LOGP], dist.logp(rollout[Columns.ACTIONS]))
        normal = torch.distributions.Normal(dist.loc, dist.scale).log_prob(rollout[Columns.ACTIONS]).sum(-1)
        torch.testing.assert_close(rollout[Columns.ACTION_LOGP], normal)


def test_only_normal_parts_of_an_action_hang_together():
    space = gym.spaces.Dict({"arm": BOX(-1.0, 1.0, (2,)), "grip": gym.spaces.Discrete(2)})
    with running(config({"type": "ou", "theta": 0.01}, action_space=space)) as runner:
        parts = [runner.sample(num_timesteps=90)[ID].clone() for _ in range(5)]
    arms = torch.cat([part[Columns.ACTIONS]["arm"] for part in parts])
    assert float((arms[1:] - arms[:-1]).std() / arms.std()) < 0.6
    grips = torch.cat([part[Columns.ACTIONS]["grip"] for part in parts]).float()
    assert 0.3 < float((grips[1:] != grips[:-1]).float().mean()) < 0.7


def test_each_agent_has_a_sequence_of_its_own():
    several = config({"type": "ou", "theta": 0.02}, env=make_multi_agent(RandomEnv), num_agents=2)
    several.multi_agent(policies={ID}, policy_mapping_fn=lambda *args, **kwargs: ID)
    with running(several) as runner:
        rows = [drawn(runner.sample(num_timesteps=60)[ID].clone()) for _ in range(8)]
        assert np.mean([lag_one(part) for part in rows]) > 0.6
        state = runner.get_state()
        expected = runner.sample(num_timesteps=30)[ID]
        assert state["exploration_noise"][ID]["block"].shape[1] >= 6
        runner.set_state(state)
        again = runner.sample(num_timesteps=30)[ID]
        assert expected.columns.keys() == again.columns.keys()
    with running(several) as other:
        other.set_state(state)
        other.sample(num_timesteps=30)
        assert (
            other.get_state()["exploration_noise"][ID]["block"].shape == state["exploration_noise"][ID]["block"].shape
        )


def test_a_runner_goes_on_from_its_state():
    with running(config("pink")) as runner, running(config("pink")) as other:
        runner.sample()
        state = runner.get_state()
        assert set(state["exploration_noise"]) == {ID}
        runner.set_state(state)
        expected = drawn(runner.sample()[ID])
        other.set_state(state)
        other.modules.set_weights(runner.module.get_state())
        torch.testing.assert_close(drawn(other.sample()[ID]), expected, atol=0.0, rtol=0.0)


def test_evaluation_draws_none():
    with running(config("pink")) as runner:
        rollout = runner.sample(explore=False)[ID]
        loc, _ = rollout[Columns.ACTION_DIST_INPUTS].chunk(2, -1)
        assert torch.equal(rollout[Columns.ACTIONS], loc)


class Deterministic(TorchRLModule):
    """Acts as TD3 does."""

    def setup(self):
        self.pi = torch.nn.Linear(2, 2)
        self.seen = []

    def _forward_inference(self, batch, **kwargs):
        return {Columns.ACTIONS: torch.tanh(self.pi(batch[Columns.OBS]))}

    def _forward_exploration(self, batch, noise=None, t=None, **kwargs):
        self.seen.append((noise, t))
        actions = self._forward_inference(batch)[Columns.ACTIONS]
        return {Columns.ACTIONS: self.add_exploration_noise(actions, noise, scale=0.1)}


@pytest.mark.parametrize("noise", [None, {"type": "ou", "theta": 0.02}])
def test_a_deterministic_policy_adds_it_itself(noise):
    with running(config(noise, module=Deterministic)) as runner:
        for _ in range(10):
            runner.sample()
        seen = runner.acting_module.seen
        rows = torch.stack([row for row, _ in seen])
        assert rows.shape == (100, 3, 2)
        assert (lag_one(rows) > 0.6) is (noise is not None)
        assert [t for _, t in seen[:3]] == [0, 3, 6]
        module = runner.acting_module
        batch = {Columns.OBS: torch.zeros(4, 2)}
        near = module.forward_exploration(batch)[Columns.ACTIONS] - module.forward_inference(batch)[Columns.ACTIONS]
        assert 0 < near.abs().max() < 0.6
        high = module.add_exploration_noise(torch.ones(1, 2), torch.ones(1, 2), scale=1.0)
        assert torch.equal(high, torch.ones(1, 2))
        module.model_config["normalize_actions"] = False
        assert torch.equal(module.add_exploration_noise(torch.ones(1, 2), 9 * torch.ones(1, 2), scale=1.0), 2 * high)


def test_what_has_no_continuous_actions_is_refused():
    with (
        running(config("pink", action_space=gym.spaces.Discrete(2))) as runner,
        pytest.raises(ConfigError, match=r"exploration_noise is for continuous actions.*Discrete\(2\)"),
    ):
        runner.sample()


@pytest.mark.parametrize(
    ("noise", "says"),
    [
        ("pnik", "Did you mean 'pink'"),
        ({"type": "ou", "thet": 1}, "Did you mean 'theta'"),
        ({"type": "pink", "length": 1}, "length|4"),
        ({"theta": 0.1}, "no noise None"),
    ],
)
def test_settings_are_checked(noise, says):
    with pytest.raises(ConfigError, match=says):
        config(noise)
    assert config({"type": "independent"}).exploration_noise is None
    assert config("ou").exploration_noise == {"type": "ou"}
    with pytest.raises(KeyError, match="exploration_noise"):
        config().env_runners(action_noise="pink")
