"""Constructor forms, the life of a module, and its public forwards."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import pytest
import torch
from torch import nn

from rlkit_core import DefaultModelConfig, RLModule, RLModuleConfig, RLModuleSpec, TorchRLModule
from rlkit_core.errors import RLKitError, SpecError
from rlkit_core.testing import DiscreteBCTorchModule

OBS = gym.spaces.Box(-1.0, 1.0, (4,))
ACT = gym.spaces.Discrete(2)
KW = {"observation_space": OBS, "action_space": ACT, "model_config": {"fcnet_hiddens": [8]}}


class Recorder(TorchRLModule):
    def setup(self) -> None:
        self.calls: list[tuple[str, bool, bool, dict]] = []
        self.setups = getattr(self, "setups", 0) + 1
        self.layer = nn.Linear(4, 2)

    def _note(self, phase: str, kwargs: dict) -> dict:
        self.calls.append((phase, self.training, torch.is_grad_enabled(), kwargs))
        return {"action_dist_inputs": torch.zeros(1, 2)}

    def _forward_exploration(self, batch, **kwargs):
        return self._note("exploration", kwargs)

    def _forward_inference(self, batch):
        return self._note("inference", {})

    def _forward_train(self, batch, *, known=None):
        return self._note("train", {"known": known})


class OldStyle(DiscreteBCTorchModule):
    def __init__(self, config: RLModuleConfig) -> None:
        super().__init__(config)


def test_all_constructor_forms_build_the_same_module() -> None:
    config = RLModuleConfig(OBS, ACT, {"fcnet_hiddens": [8]})
    keyword = DiscreteBCTorchModule(**KW)
    positional = DiscreteBCTorchModule(config)
    old = OldStyle(config)
    minus_one = DiscreteBCTorchModule(-1, **KW)
    alias = DiscreteBCTorchModule(observation_space=OBS, action_space=ACT, model_config_dict={"fcnet_hiddens": [8]})
    for module in (keyword, positional, old, minus_one, alias):
        assert module.observation_space == OBS
        assert module.action_space == ACT
        assert module.model_config == {"fcnet_hiddens": [8]}
        assert module.config.model_config_dict is module.model_config
        assert not module.inference_only
        assert not module.learner_only
        assert module.policy[0].out_features == 8


def test_spec_gives_old_style_classes_their_config_and_reopens_them(tmp_path) -> None:
    spec = RLModuleSpec(module_class=OldStyle, **KW)
    module = spec.build()
    module.save_to_path(tmp_path / "m")
    again = RLModule.from_checkpoint(tmp_path / "m")
    assert type(again) is OldStyle
    assert torch.equal(again.policy[0].weight, module.policy[0].weight)


def test_constructor_arguments_a_class_does_not_take() -> None:
    class Few(TorchRLModule):
        def __init__(self, observation_space, action_space) -> None:
            super().__init__(observation_space=observation_space, action_space=action_space)

    assert type(RLModuleSpec(module_class=Few, observation_space=OBS, action_space=ACT).build()) is Few
    with pytest.raises(SpecError, match=r"Few takes no model_config.*\*\*kwargs"):
        RLModuleSpec(module_class=Few, **KW).build()


@pytest.mark.parametrize("given", [DefaultModelConfig(fcnet_hiddens=[8]), {"fcnet_hiddens": [8]}])
def test_model_config_is_a_plain_dict_of_what_was_set(given) -> None:
    module = DiscreteBCTorchModule(observation_space=OBS, action_space=ACT, model_config=given)
    assert module.model_config == {"fcnet_hiddens": [8]}


def test_model_config_of_a_dataclass_and_identity_of_values() -> None:
    network = nn.Linear(1, 1)

    @dataclasses.dataclass
    class Mine:
        fcnet_hiddens: list
        encoder: nn.Module

    module = RLModuleSpec(module_class=DiscreteBCTorchModule, **(KW | {"model_config": Mine([8], network)})).build()
    assert module.model_config["encoder"] is network


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(TypeError, match=r"'model_confg'.*Did you mean 'model_config'"):
        TorchRLModule(observation_space=OBS, model_confg={})
    with pytest.raises(TypeError, match="expected an RLModuleConfig, got dict"):
        TorchRLModule({"observation_space": OBS})


def test_setup_runs_once_and_a_second_constructor_is_an_error() -> None:
    assert Recorder(**KW).setups == 1

    class Twice(Recorder):
        def __init__(self, **kwargs) -> None:
            super().__init__(**kwargs)
            RLModule.__init__(self, **kwargs)

    with pytest.raises(RuntimeError, match="ran twice"):
        Twice(**KW)

    class Never(Recorder):
        def __init__(self, **kwargs) -> None:
            nn.Module.__init__(self)

    with pytest.raises(RuntimeError, match="never called super"):
        Never(**KW)


def test_errors_in_setup_are_the_users_own() -> None:
    class Broken(TorchRLModule):
        def setup(self) -> None:
            self.layer = nn.Linear(self.observation_space.shpe[0], 2)

    with pytest.raises(AttributeError, match="shpe"):
        RLModuleSpec(module_class=Broken, **KW).build()


def test_acting_is_in_eval_mode_without_gradients_and_restores_the_mode() -> None:
    module = Recorder(**KW)
    module.forward_exploration({"obs": None}, t=7)
    module.forward_inference({"obs": None}, t=7)
    assert module.calls == [("exploration", False, False, {"t": 7}), ("inference", False, False, {})]
    assert module.training
    module.calls.clear()
    module.eval()
    with torch.no_grad():
        module.forward_exploration({"obs": None})
    assert module.calls == [("exploration", False, False, {})]
    assert not module.training


def test_mode_is_restored_after_an_error() -> None:
    class Fails(TorchRLModule):
        def _forward(self, batch, **kwargs):
            raise ValueError("in forward")

    module = Fails(**KW)
    with pytest.raises(ValueError, match="in forward"):
        module.forward_inference({})
    assert module.training
    assert torch.is_grad_enabled()


def test_forward_train_trains_and_filters_keyword_arguments() -> None:
    module = Recorder(**KW).eval()
    module.forward_train({"obs": None}, known=3, unknown=4)
    assert module.calls == [("train", True, True, {"known": 3})]
    module({"obs": None})
    assert module.calls[-1][0] == "train"


def test_inference_only_modules_do_not_train() -> None:
    module = Recorder(**KW, inference_only=True)
    with pytest.raises(RuntimeError, match="inference_only=True"):
        module.forward_train({"obs": None})
    module({"obs": None})
    assert module.calls[-1][0] == "exploration"


def test_one_forward_serves_all_phases_with_or_without_kwargs() -> None:
    class Plain(TorchRLModule):
        def _forward(self, batch):
            return {"actions": batch["obs"]}

    module = Plain(**KW)
    obs = torch.zeros(1, 4)
    for method in (module.forward_exploration, module.forward_inference, module.forward_train):
        assert method({"obs": obs}, t=1)["actions"] is obs


def test_defaults_without_catalog() -> None:
    module = Recorder(**KW)
    assert module.catalog is None
    assert module.action_dist_cls is None
    assert module.get_initial_state() == {}
    assert not module.is_stateful()
    assert module.unwrapped() is module
    assert module.component_trace() == []
    assert module.framework == "torch"
    assert module.get_train_action_dist_cls().__name__ == "Categorical"
    gaussian = Recorder(observation_space=OBS, action_space=gym.spaces.Box(-1, 1, (1,)))
    assert gaussian.get_inference_action_dist_cls().__name__ == "DiagGaussian"
    with pytest.raises(RLKitError, match=r"Recorder.*MultiBinary.*action_dist_cls"):
        Recorder(observation_space=OBS, action_space=gym.spaces.MultiBinary(2)).get_train_action_dist_cls()


def test_initial_state_must_be_a_dict() -> None:
    class Wrong(TorchRLModule):
        def get_initial_state(self):
            return [torch.zeros(3)]

    with pytest.raises(TypeError, match=r"Wrong\.get_initial_state.*list"):
        Wrong(**KW).is_stateful()


def test_framework_neutral_module_acts_and_has_no_state() -> None:
    class Fixed(RLModule):
        def _forward(self, batch, **kwargs):
            return {"actions": [0]}

    module = Fixed(**KW)
    assert module.forward_inference({})["actions"] == [0]
    assert module.get_state() == {}
    with pytest.raises(NotImplementedError, match="Fixed"):
        module.get_train_action_dist_cls()


def test_a_name_that_nobody_knows() -> None:
    import rlkit_core.rl_module as package

    with pytest.raises(AttributeError):
        package.Nothing
