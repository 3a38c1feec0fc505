"""Acting through a rollout by numpy: what the forwards do, and only where nothing is lost by it."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import RLModuleSpec
from rlkit_core.catalog import ActorCriticCatalog
from rlkit_core.distributions import Categorical
from rlkit_core.rl_module.acting import ActionSampler
from rlkit_core.rl_module.actor_critic import ActorCriticTorchRLModule
from rlkit_core.seeding import TorchRNG

DISCRETE = gym.spaces.Discrete(3)
BOX = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
SQUASHED = {"distribution": "rlkit-core/squashed-gaussian"}


def make(module_class=ActorCriticTorchRLModule, action_space=DISCRETE, dtype=np.float32, components=None, **settings):
    torch.manual_seed(0)
    module = RLModuleSpec(
        module_class=module_class,
        catalog_class=ActorCriticCatalog,
        observation_space=gym.spaces.Box(0 if dtype is np.uint8 else -5.0, 5, (4,), dtype),
        action_space=action_space,
        model_config={"fcnet_hiddens": [8, 8], "fcnet_activation": "tanh", **settings},
        components=components,
    ).build()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    for part in module.modules():
        if hasattr(part, "update_statistics"):
            part.update_statistics(torch.randn(100, 4, dtype=torch.float64) * 3.0 + 1.0)
    return module.eval()


def rows_of(module, *, explore=True, steps=20, envs=5, seed=3):
    return ActionSampler(module, explore=explore).row_policy(range(steps), envs, TorchRNG(seed))


@pytest.mark.parametrize("explore", [True, False])
@pytest.mark.parametrize("envs", [1, 5])
@pytest.mark.parametrize(
    ("space", "settings"),
    [
        (DISCRETE, {}),
        (DISCRETE, {"vf_share_layers": False, "fcnet_activation": "relu"}),
        (DISCRETE, {"normalize_observations": True}),
        (BOX, {}),
        (BOX, {"free_log_std": True, "normalize_observations": True, "vf_share_layers": False}),
        (BOX, {"components": SQUASHED}),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_what_the_forward_and_its_distribution_draw(space, settings, explore, envs, dtype):
    module = make(action_space=space, dtype=dtype, **settings)
    policy, sampler, rng = (
        rows_of(module, explore=explore, envs=envs),
        ActionSampler(module, explore=explore),
        TorchRNG(3),
    )
    obs = (np.random.default_rng(0).normal(size=(20, envs, 4)) * 3.0).astype(dtype)
    with torch.inference_mode(), rng.scope():
        noise = sampler.noise(20, envs) if explore else [None] * 20
        for t in range(20):
            given = obs[t].copy()
            actions = policy(t, given)
            expected = sampler({"obs": torch.from_numpy(obs[t])}, noise=noise[t])
            assert np.array_equal(given, obs[t])
            torch.testing.assert_close(torch.from_numpy(np.asarray(actions)), expected["actions"], rtol=1e-4, atol=1e-5)
            inputs = torch.from_numpy(policy.columns["action_dist_inputs"][t])
            torch.testing.assert_close(inputs, expected["action_dist_inputs"], rtol=1e-4, atol=1e-5)


def test_is_not_there_for_what_it_would_leave_out():
    assert rows_of(make()) is not None
    assert rows_of(make(dtype=np.uint8)) is None  # scaled by the encoder
    assert rows_of(make(), envs=17) is None
    assert rows_of(make(fcnet_hiddens=[300, 300])) is None
    listened_to = make()
    listened_to.pi.register_forward_hook(lambda *_: None)
    assert rows_of(listened_to) is None
    replaced = make()
    replaced.encoder = make().encoder
    assert rows_of(replaced) is None
    assert rows_of(make().train()) is None


class OwnForward(ActorCriticTorchRLModule):
    def _forward_exploration(self, batch, **kwargs):
        return {**super()._forward_exploration(batch, **kwargs), "extra": batch["obs"].sum(-1)}


class Tempered(Categorical):
    @classmethod
    def from_logits(cls, logits, **kwargs):
        return super().from_logits(logits / 2.0)


class OwnDistribution(ActorCriticTorchRLModule):
    def get_exploration_action_dist_cls(self):
        return Tempered


def test_is_not_there_for_forwards_and_distributions_of_ones_own():
    assert rows_of(make(OwnForward)) is None
    assert rows_of(make(OwnDistribution)) is None
    assert rows_of(make(OwnDistribution), explore=False) is not None
