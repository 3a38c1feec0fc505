"""What a subclass, a spec or a config says in an attribute that RLlib's documents name is what is used."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from name_checks import CHECKS, check
from rllib_names import chosen
from torch import nn

from rlkit_core import DefaultModelConfig, MultiRLModule, MultiRLModuleSpec, RLModuleConfig, RLModuleSpec
from rlkit_core.errors import ConfigError
from rlkit_core.learner.metrics import Metrics
from rlkit_core.models import ActorCriticEncoderConfig, MLPEncoderConfig, MLPHeadConfig
from rlkit_core.testing import (
    BCConfigTest,
    BCTorchLearner,
    BCTorchRLModuleWithSharedGlobalEncoder,
    DiscreteBCTorchModule,
    MobileNetV2EncoderConfig,
    RandomEnv,
)

OBS, ACT = gym.spaces.Box(-1.0, 1.0, (4,), np.float32), gym.spaces.Discrete(2)
WIDE, THREE = gym.spaces.Box(-1.0, 1.0, (6,), np.float32), gym.spaces.Discrete(3)
SPACES: dict[str, Any] = {"observation_space": OBS, "action_space": ACT}
SMALL = {"fcnet_hiddens": [8]}
ppo = importlib.import_module("rlkit_ppo")  # by name: the core's tests run where there is no plugin
dqn = importlib.import_module("rlkit_dqn")


@pytest.mark.parametrize("name", chosen(kinds=("attribute", "setting"), status="honoured"))
def test_it_is_used(name):
    CHECKS[name.name]()


def one_for(obs: int) -> dict[str, torch.Tensor]:
    return {"obs": torch.zeros(1, obs)}


# -- modules ----------------------------------------------------------------------------------------------------------


@check("RLModule.observation_space action_space model_config")
def what_setup_says_of_the_module_is_what_its_parts_are_made_for():
    class Other(ppo.PPOTorchRLModule):
        def setup(self):
            self.observation_space, self.action_space, self.model_config = WIDE, THREE, {"fcnet_hiddens": [5]}
            super().setup()

    module = Other(**SPACES, model_config=SMALL)
    assert module.forward_train(one_for(6))["action_dist_inputs"].shape == (1, 3)
    assert {p.shape[0] for p in module.encoder.parameters()} == {5}


@check("RLModule.inference_only")
def a_module_that_says_so_is_inference_only():
    class Acts(ppo.PPOTorchRLModule):
        def setup(self):
            super().setup()
            self.inference_only = True

    module = Acts(**SPACES, model_config=SMALL)
    assert not hasattr(module, "vf")
    with pytest.raises(RuntimeError, match="inference_only=True"):
        module.forward_train(one_for(4))


class OwnCatalog(ppo.PPOCatalog):
    """A catalog of one's own."""


@check(
    "RLModule.config",
    "RLModuleConfig",
    "RLModuleConfig.observation_space action_space model_config_dict catalog_class inference_only",
)
def a_module_is_what_its_config_object_says():
    class OwnConfig(RLModuleConfig):
        """A config object of one's own."""

    class Older(ppo.PPOTorchRLModule):
        def __init__(self, config: RLModuleConfig) -> None:
            super().__init__(config)

    config = OwnConfig(WIDE, THREE, {"fcnet_hiddens": [5]}, OwnCatalog, inference_only=True)
    module = Older(config)
    assert module.config is config
    assert type(module.catalog) is OwnCatalog
    assert module.inference_only
    assert module.forward_inference(one_for(6))["action_dist_inputs"].shape == (1, 3)
    assert {p.shape[0] for p in module.encoder.parameters()} == {5}


@check("PPOTorchRLModule.encoder pi vf")
def networks_that_setup_puts_in_place_are_run():
    class Fixed(nn.Module):
        def forward(self, features):
            return features.sum(-1, keepdim=True) + torch.tensor([7.0, 9.0])[: self.size]

        def __init__(self, size):
            super().__init__()
            self.size = size

    class Own(ppo.PPOTorchRLModule):
        def setup(self):
            base = MLPEncoderConfig(input_dims=[4], hidden_layer_dims=[], output_layer_dim=3)
            self.encoder = ActorCriticEncoderConfig(base_encoder_config=base).build()
            self.pi, self.vf = Fixed(2), Fixed(1)

    module = Own(**SPACES, model_config=SMALL)
    out = module.forward_train(one_for(4))
    assert out["embeddings"].shape == (1, 3)
    features = out["embeddings"].sum(-1, keepdim=True)
    assert torch.allclose(out["action_dist_inputs"] - features, torch.tensor([[7.0, 9.0]]))
    assert torch.allclose(module.compute_values(one_for(4)) - features[:, 0], torch.tensor([7.0]))
    assert torch.allclose(module.forward_inference(one_for(4))["action_dist_inputs"], out["action_dist_inputs"])


@check("DiscreteBCTorchModule.policy input_dim")
def the_cloning_modules_policy_is_what_acts():
    class Own(DiscreteBCTorchModule):
        def setup(self):
            super().setup()
            self.policy = nn.Linear(self.input_dim, 2)

    module = Own(**SPACES, model_config=SMALL)
    assert module.input_dim == 4
    nn.init.constant_(module.policy.weight, 0.0)
    nn.init.constant_(module.policy.bias, 3.0)
    logits = module.forward_train(one_for(4))["action_dist"].logits
    assert torch.allclose(logits, torch.full((1, 2), 0.5).log())


@check("BCTorchRLModuleWithSharedGlobalEncoder.encoder policy_head")
def parts_of_the_module_with_a_shared_encoder_are_run():
    class Own(BCTorchRLModuleWithSharedGlobalEncoder):
        def setup(self):
            super().setup()
            self.encoder, self.policy_head = nn.Linear(4, 1), nn.Linear(5, 2)

    space = gym.spaces.Dict({"global": OBS, "local": OBS})
    given = {"encoder": nn.Linear(4, 8), "hidden_dim": 8, "local_dim": 4, "action_dim": 2}
    module = Own(observation_space=space, action_space=ACT, model_config=given)
    assert module.compute_single_action(space.sample())[0] in (0, 1)  # the encoder that was given gives 8 features


@check("QNetAPI.num_atoms")
def q_values_have_as_many_atoms_as_the_module_says():
    module = dqn.DQNTorchRLModule(**SPACES, model_config={**SMALL, "num_atoms": 5, "v_min": 0.0, "v_max": 1.0})
    out = module.compute_q_values(one_for(4))
    assert module.num_atoms == 5
    assert (out["qf_preds"].shape, out["atoms"].shape) == ((1, 2), (5,))
    assert (out["qf_logits"].shape, out["qf_probs"].shape) == ((1, 2, 5), (1, 2, 5))


# -- several modules --------------------------------------------------------------------------------------------------


def cloner(width: int = 8, **more: Any) -> RLModuleSpec:
    return RLModuleSpec(DiscreteBCTorchModule, OBS, ACT, model_config={"fcnet_hiddens": [width]}, **more)


def width_of(module: Any) -> int:
    return module.policy[0].out_features


@check("MultiRLModule.rl_module_specs _rl_modules")
def members_are_made_of_the_specs_and_assigned():
    class Wider(MultiRLModule):
        def setup(self):
            for spec in self.rl_module_specs.values():
                spec.model_config = {"fcnet_hiddens": [5]}
            super().setup()

    class Assigns(MultiRLModule):
        def setup(self):
            self._rl_modules = {"own": cloner(6).build()}

    assert width_of(Wider(rl_module_specs={"p0": cloner()})["p0"]) == 5
    assigned = Assigns(rl_module_specs={"p0": cloner()})
    assert list(assigned.keys()) == ["own"]
    assert set(assigned.forward_inference({"own": one_for(4)})) == {"own"}


@check("MultiRLModule.STATE_FILE_NAME")
def the_state_lies_in_a_file_of_the_classs_own_name():
    with tempfile.TemporaryDirectory() as folder:
        saved = OwnStateFile(rl_module_specs={"p0": cloner()})
        path = saved.save_to_path(Path(folder) / "saved")
        assert (Path(path) / "own_state.json").exists()
        loaded = MultiRLModule.from_checkpoint(path, classes=[OwnStateFile, DiscreteBCTorchModule])
        assert type(loaded) is OwnStateFile
        np.testing.assert_equal(loaded.get_state(), saved.get_state())


class OwnStateFile(MultiRLModule):
    """Saves its state under another name."""

    STATE_FILE_NAME = "own_state"


@check("MultiRLModule.framework")
def members_have_the_framework_of_the_whole():
    class Elsewhere(MultiRLModule):
        framework = "jax"

    with pytest.raises(ValueError, match="it is torch, the others are jax"):
        Elsewhere(rl_module_specs={}).add_module("p0", cloner().build())


# -- specs ------------------------------------------------------------------------------------------------------------


class OwnModule(ppo.PPOTorchRLModule):
    """A module class of one's own."""


@check(
    "RLModuleSpec.module_class observation_space action_space model_config model_config_dict",
    "RLModuleSpec.catalog_class inference_only learner_only",
)
def a_spec_says_more_than_algorithm_and_env():
    said = {"module_class": OwnModule, "catalog_class": OwnCatalog, "learner_only": True}
    for name in ("model_config", "model_config_dict"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the second is an older name
            one = RLModuleSpec(observation_space=WIDE, action_space=THREE, **said, **{name: {"fcnet_hiddens": [5]}})
        config = ppo.PPOConfig().environment(**SPACES).rl_module(rl_module_spec=one)
        learner = config.build_learner()
        learner.build()
        module = learner.module["default_policy"]
        assert (type(module), type(module.catalog)) == (OwnModule, OwnCatalog)
        assert (module.observation_space, module.action_space, module.learner_only) == (WIDE, THREE, True)
        assert {p.shape[0] for p in module.encoder.parameters()} == {5}
        assert len(config.get_multi_rl_module_spec(inference_only=True).rl_module_specs) == 0
    assert not hasattr(RLModuleSpec(OwnModule, OBS, ACT, model_config=SMALL, inference_only=True).build(), "vf")


class OwnMulti(MultiRLModule):
    """A class of several modules of one's own."""


@check(
    "MultiRLModuleSpec.multi_rl_module_class observation_space action_space inference_only model_config rl_module_specs"
)
def a_multi_spec_says_what_the_whole_is():
    said = {"observation_space": WIDE, "action_space": THREE, "model_config": {"shared": 1}}
    spec = MultiRLModuleSpec(multi_rl_module_class=OwnMulti, rl_module_specs={"p0": cloner(5)}, **said)
    config = BCConfigTest().environment(**SPACES).multi_agent(policies=["p0"]).rl_module(rl_module_spec=spec)
    learner = config.build_learner()
    learner.build()
    whole = learner.module
    assert type(whole) is OwnMulti
    assert (whole.observation_space, whole.action_space, whole.model_config) == (WIDE, THREE, {"shared": 1})
    assert width_of(whole["p0"]) == 5
    spec.inference_only = True
    assert spec.build()["p0"].inference_only
    one_for_all = MultiRLModuleSpec(rl_module_specs=cloner(6))
    config = BCConfigTest().multi_agent(policies=["p0", "p1"]).rl_module(rl_module_spec=one_for_all)
    assert [width_of(module) for module in config.get_multi_rl_module_spec().build().values()] == [6, 6]


# -- networks ---------------------------------------------------------------------------------------------------------


@check(
    "MLPHeadConfig.input_dims output_layer_dim",
    "ActorCriticEncoderConfig.base_encoder_config",
    "MobileNetV2EncoderConfig.output_dims",
)
def networks_are_as_their_configs_say():
    class Small(MobileNetV2EncoderConfig):
        @property
        def output_dims(self):
            return (9,)

    class OwnEncoder(nn.Module):
        def forward(self, batch):
            return {"encoder_out": batch["obs"] * 2.0}

    class OwnConfig(Small):
        def build(self, framework="torch"):
            return OwnEncoder()

    whole = ActorCriticEncoderConfig(base_encoder_config=OwnConfig())
    assert tuple(whole.output_dims) == (9,)
    features = whole.build()({"obs": torch.ones(1, 9)})["encoder_out"]["actor"]
    assert float(features.sum()) == 18.0
    assert MLPHeadConfig(input_dims=whole.output_dims, output_layer_dim=3).build()(features).shape == (1, 3)


@check("DefaultModelConfig.fcnet_hiddens")
def layers_are_as_wide_as_the_model_config_says():
    config = ppo.PPOConfig().environment(**SPACES).rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[5]))
    assert {p.shape[0] for p in config.get_rl_module_spec().build().encoder.actor_encoder.parameters()} == {5}


# -- settings ---------------------------------------------------------------------------------------------------------


@check("AlgorithmConfig.model_config")
def the_modules_settings_are_what_the_configs_property_says():
    class Own(ppo.PPOConfig):
        @property
        def model_config(self):
            return super().model_config | {"fcnet_hiddens": [5]}

    spec = Own().environment(**SPACES).get_rl_module_spec()
    assert {p.shape[0] for p in spec.build().encoder.actor_encoder.parameters()} == {5}


@check("AlgorithmConfig.enable_rl_module_and_learner enable_env_runner_and_connector_v2")
def the_flags_of_the_new_stack_are_on():
    for flag in ("enable_rl_module_and_learner", "enable_env_runner_and_connector_v2"):
        assert ppo.PPOConfig().api_stack(**{flag: True})[flag] is True
        with pytest.raises(ConfigError, match=f"(?s){flag}.*there is only the RLModule API"):
            ppo.PPOConfig().api_stack(**{flag: False})


@check(
    "AlgorithmConfig.env_config rl_module_spec num_env_runners train_batch_size_per_learner minibatch_size num_epochs"
)
def a_run_is_as_its_settings_say():
    config = ppo.PPOConfig().environment(RandomEnv, env_config=SPACES).debugging(seed=1)
    config.env_runners(num_env_runners=2, num_envs_per_env_runner=1).execution(executor="local")
    config.training(train_batch_size_per_learner=24, minibatch_size=8, num_epochs=2)
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=OwnModule, model_config=SMALL))
    steps = []

    class Counts(ppo.PPOTorchLearner):
        def _update(self, batch):
            steps.append(len(batch["default_policy"]["obs"]))
            return super()._update(batch)

    with config.learners(learner_class=Counts, compile=None).build_algo() as algo:
        result = algo.train()
        assert isinstance(algo.get_module(), OwnModule)
        assert (algo.get_module().observation_space, algo.get_module().action_space) == (OBS, ACT)
        assert len(algo.env_runner_group.foreach_env_runner(lambda runner: 1)) == 2
    assert result["env_runners"]["num_env_steps_sampled"] == 24
    assert steps == [8] * 6


@check("Learner.metrics")
def losses_log_into_what_a_learner_has_as_its_metrics():
    class Own(Metrics):
        def log_value(self, key, value, *, reduce="mean"):
            super().log_value(key, 7.0 if key[-1] == "total_loss" else value, reduce=reduce)

    class Logs(BCTorchLearner):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.metrics = Own()

    config = BCConfigTest().environment(**SPACES).learners(learner_class=Logs, compile=None)
    learner = config.rl_module(rl_module_spec=cloner()).build_learner()
    learner.build()
    rows = {"obs": torch.zeros(8, 4), "actions": torch.zeros(8, dtype=torch.int64)}
    assert learner.update({"default_policy": rows})["default_policy"]["total_loss"] == 7.0
