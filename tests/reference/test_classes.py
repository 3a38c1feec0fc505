"""A class of one's own takes the place of each that RLlib's documents name; functions and constants do their part."""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from name_checks import CHECKS, check
from rllib_names import chosen, has_called_methods
from torch import nn

from rlkit_core import (
    Columns,
    DefaultModelConfig,
    LearnerGroup,
    MultiRLModuleConfig,
    MultiRLModuleSpec,
    RLModule,
    RLModuleSpec,
    TorchRLModule,
)
from rlkit_core.data import Rollout
from rlkit_core.distributions import Categorical
from rlkit_core.learner import make_target_network
from rlkit_core.models import ActorCriticEncoderConfig, MLPHeadConfig
from rlkit_core.models.torch import torch_distributions
from rlkit_core.rl_module import MultiAgentRLModule
from rlkit_core.testing import (
    MOBILENET_INPUT_SHAPE,
    BCConfigTest,
    BCTorchMultiAgentModuleWithSharedEncoder,
    DiscreteBCTorchModule,
    MobileNetV2EncoderConfig,
    MultiAgentCartPole,
    RandomEnv,
)

OBS, ACT = gym.spaces.Box(-1.0, 1.0, (4,), np.float32), gym.spaces.Discrete(2)
SPACES: dict[str, Any] = {"observation_space": OBS, "action_space": ACT}
SMALL = {"fcnet_hiddens": [8]}
ppo = importlib.import_module("rlkit_ppo")  # by name: the core's tests run where there is no plugin
KINDS = ("class", "function", "constant", "module")


@pytest.mark.parametrize("name", chosen(kinds=KINDS, status="honoured", only=lambda name: not has_called_methods(name)))
def test_it_takes_the_place(name):
    """Of classes with methods that rlkit calls, ``test_overrides.py`` has the proof."""
    name.find()
    CHECKS[name.name]()


@check("TorchRLModule")
def modules_of_ones_own_act():
    class Rule(RLModule):
        def _forward(self, batch, **kwargs):
            return {"actions": np.ones(len(batch["obs"]), np.int64)}

    class Own(TorchRLModule):
        def _forward(self, batch, **kwargs):
            return {"actions": torch.ones(len(batch["obs"]), dtype=torch.int64)}

    for module_class in (Rule, Own):
        module = RLModuleSpec(module_class, OBS, ACT).build()
        assert type(module) is module_class
        assert module.compute_actions(np.zeros((2, 4), np.float32))[0].tolist() == [1, 1]


@check("DefaultModelConfig")
def a_model_config_of_ones_own_counts_by_what_was_set():
    class Narrow(DefaultModelConfig):
        def __init__(self, **settings):
            super().__init__(**{"fcnet_hiddens": [5], **settings})

    spec = ppo.PPOConfig().environment(**SPACES).rl_module(model_config=Narrow()).get_rl_module_spec()
    assert spec.model_config["fcnet_hiddens"] == [5]
    assert spec.model_config["vf_share_layers"] is False  # PPO's own default stays: the class's was not set


@check("MultiRLModuleConfig", "MultiAgentRLModule")
def older_forms_of_several_modules_are_built():
    class Whole(MultiAgentRLModule):
        def __init__(self, config: MultiRLModuleConfig) -> None:
            super().__init__(config)
            self.given = config

    one = RLModuleSpec(DiscreteBCTorchModule, OBS, ACT, model_config=SMALL)
    whole = MultiRLModuleSpec(multi_rl_module_class=Whole, rl_module_specs={"p0": one}).build()
    assert type(whole.given) is MultiRLModuleConfig
    assert list(whole.keys()) == list(whole.given.modules) == ["p0"]


@check("Catalog")
def catalogs_of_ones_own_choose():
    class Own(ppo.PPOCatalog):
        @classmethod
        def _get_encoder_config(cls, observation_space, model_config_dict, action_space=None):
            own = {**model_config_dict, "fcnet_hiddens": [5]}
            return super()._get_encoder_config(observation_space, own, action_space)

    config = ppo.PPOConfig().environment(**SPACES).rl_module(rl_module_spec=RLModuleSpec(catalog_class=Own))
    module = config.get_rl_module_spec().build()
    assert type(module.catalog) is Own
    assert {p.shape[0] for p in module.encoder.actor_encoder.parameters()} == {5}


@check("PPORLModule")
def a_ppo_module_of_ones_own_is_built():
    class Own(ppo.PPORLModule):
        """A module of one's own."""

    config = ppo.PPOConfig().environment(**SPACES).rl_module(rl_module_spec=RLModuleSpec(module_class=Own))
    assert type(config.get_rl_module_spec().build()) is Own
    assert ppo.PPORLModule is ppo.PPOTorchRLModule


@check("ActorCriticEncoderConfig", "MobileNetV2EncoderConfig", "MOBILENET_INPUT_SHAPE")
def the_example_encoder_is_an_actor_critics():
    class Tiny(MobileNetV2EncoderConfig):
        """Another size."""

    class Own(ActorCriticEncoderConfig):
        """A config of one's own."""

    tiny = Tiny(width=0.1, output_dim=6)
    encoder = Own(base_encoder_config=tiny).build(framework="torch")
    out = encoder({"obs": torch.zeros(1, *MOBILENET_INPUT_SHAPE)})["encoder_out"]
    assert out["actor"].shape == (1, 6)
    assert MLPHeadConfig(input_dims=tiny.output_dims, output_layer_dim=2).build()(out["actor"]).shape == (1, 2)
    assert MOBILENET_INPUT_SHAPE == (3, 224, 224)


@check("Categorical", "torch_distributions")
def a_distribution_of_ones_own_is_sampled():
    class Last(torch_distributions.Categorical):
        def sample(self, **kwargs):
            return torch.full_like(super().sample(**kwargs), 1)

    class Own(DiscreteBCTorchModule):
        def _forward(self, batch, **kwargs):
            return {"action_dist_inputs": self.policy(batch["obs"])}

        def get_exploration_action_dist_cls(self):
            return Last

    assert issubclass(Last, Categorical)
    module = Own(**SPACES, model_config=SMALL)
    assert module.compute_actions(np.zeros((9, 4), np.float32), explore=True)[0].tolist() == [1] * 9


@check("PPOConfig", "LearnerGroup")
def an_algorithm_has_the_learner_group_that_its_config_makes():
    class OwnGroup(LearnerGroup):
        """A group of one's own."""

    class Own(ppo.PPOConfig):
        def build_learner_group(self, *, env=None, spaces=None, rl_module_spec=None, placement_group=None):
            spec = self.get_multi_rl_module_spec(env=env, spaces=spaces, inference_only=False)
            return OwnGroup(config=self, module_spec=spec)

    def trained(config_class):
        config = config_class().environment(RandomEnv).debugging(seed=3).rl_module(model_config=SMALL)
        config.training(train_batch_size=16, minibatch_size=8, num_epochs=1)
        config.env_runners(num_envs_per_env_runner=1).learners(compile=None)
        with config.build_algo() as algo:
            algo.train()
            return type(algo.config), type(algo.learner_group), algo.get_module().get_state()

    own, usual = trained(Own), trained(ppo.PPOConfig)
    assert own[:2] == (Own, OwnGroup)
    assert usual[:2] == (ppo.PPOConfig, LearnerGroup)
    np.testing.assert_equal(own[2], usual[2])  # the same seeds, wherever a group comes from


class Zeros:
    """Experience from nowhere."""

    def __init__(self, config, *, worker_index):
        self.modules = None

    def get_spaces(self):
        return {"__env__": (OBS, ACT)}

    def set_weights(self, modules, version):
        self.modules = modules

    def sample(self, *, num_timesteps, explore, timestep):
        shape = (num_timesteps, 1)
        columns = {
            Columns.OBS: torch.zeros(*shape, 4),
            Columns.ACTIONS: torch.zeros(shape, dtype=torch.int64),
            Columns.REWARDS: torch.zeros(shape),
            Columns.TERMINATEDS: torch.zeros(shape, dtype=torch.bool),
            Columns.TRUNCATEDS: torch.zeros(shape, dtype=torch.bool),
        }
        return Rollout(columns, bootstrap_obs=torch.zeros(1, 4))

    def get_state(self):
        return {}

    def set_state(self, state):
        pass

    def stop(self):
        pass


@check("EnvRunner", "BCConfigTest", "DiscreteBCTorchModule")
def a_cloner_of_ones_own_learns_from_a_runner_of_ones_own():
    class Own(BCConfigTest):
        """Settings of one's own."""

    class Module(DiscreteBCTorchModule):
        """A module of one's own."""

    config = Own().training(expert=lambda obs: np.zeros(len(obs), np.int64), train_batch_size=8)
    config.env_runners(env_runner_cls=Zeros).debugging(seed=1).learners(compile=None)
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=Module), model_config=SMALL)
    with config.build_algo() as algo:
        first, later = (algo.train()["learners"]["default_policy"]["total_loss"] for _ in range(2))
        assert type(algo.env_runner.own) is Zeros
        assert type(algo.get_module()) is Module
        assert type(algo.env_runner.own.modules["default_policy"]) is Module
    assert later < first


@check("BCTorchMultiAgentModuleWithSharedEncoder", "MultiAgentCartPole")
def agents_of_ones_own_share_an_encoder_of_ones_own():
    class Poles(MultiAgentCartPole):
        """An env of one's own."""

    class Shares(BCTorchMultiAgentModuleWithSharedEncoder):
        """A whole of one's own."""

    space = gym.spaces.Dict({"global": OBS, "local": OBS})
    one = RLModuleSpec(observation_space=space, action_space=ACT, model_config=SMALL)
    whole = MultiRLModuleSpec(multi_rl_module_class=Shares, rl_module_specs={"a": one, "b": one}).build()
    assert type(whole) is Shares
    assert whole["a"].encoder is whole["b"].encoder
    env = Poles({"num_agents": 2})
    observations, _ = env.reset(seed=1)
    assert len(observations) == 2


@check("RandomEnv")
def an_env_of_ones_own_is_played():
    class Own(RandomEnv):
        steps = 0

        def step(self, action):
            type(self).steps += 1
            return super().step(action)

    config = ppo.PPOConfig().environment(Own).rl_module(model_config=SMALL).debugging(seed=1)
    config.training(train_batch_size=8, minibatch_size=8, num_epochs=1).env_runners(num_envs_per_env_runner=1)
    with config.learners(compile=None).build_algo() as algo:
        algo.train()
    assert Own.steps >= 8


@check("make_target_network")
def target_networks_are_frozen_copies():
    main = nn.Linear(4, 2)
    target = make_target_network(main)
    assert target is not main
    assert torch.equal(target.weight, main.weight)
    assert not any(p.requires_grad for p in target.parameters())
