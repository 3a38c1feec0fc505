"""TfRLModule keeps the contract of modules: construction, forwards, acting, state, checkpoints, several together."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from rlkit_core import Columns, MultiRLModule, MultiRLModuleSpec, RLModule, RLModuleConfig, RLModuleSpec
from rlkit_core.apis import InferenceOnlyAPI
from rlkit_core.errors import ConfigError, SpecError, StateError
from rlkit_core.models.tf import tf_distributions
from rlkit_core.rl_module.tf.tf_rl_module import TfRLModule
from rlkit_core.testing import DiscreteBCTfModule, DiscreteBCTorchModule

KW: dict[str, Any] = {
    "observation_space": gym.spaces.Box(-1, 1, (4,), np.float32),
    "action_space": gym.spaces.Discrete(2),
    "model_config": {"fcnet_hiddens": [8]},
}
CONFIG = {**KW, "model_config_dict": KW["model_config"]}
del CONFIG["model_config"]
OBS = np.random.default_rng(0).uniform(-1, 1, (5, 4)).astype(np.float32)


class Document(TfRLModule):
    """The document's ``DiscreteBCTfModule``; TensorFlow 2 has no ``tf.distributions``."""

    def __init__(self, config: RLModuleConfig) -> None:
        super().__init__(config)

    def setup(self):
        input_dim = self.observation_space.shape[0]
        hidden_dim = self.model_config["fcnet_hiddens"][0]
        output_dim = self.action_space.n

        self.policy = tf.keras.Sequential(
            [
                tf.keras.layers.Dense(hidden_dim, activation="relu"),
                tf.keras.layers.Dense(output_dim),
            ]
        )

        self.input_dim = input_dim

    def _forward_inference(self, batch: dict[str, Any]) -> dict[str, Any]:
        return self._forward_train(batch)

    def _forward_exploration(self, batch: dict[str, Any]) -> dict[str, Any]:
        return self._forward_train(batch)

    def _forward_train(self, batch: dict[str, Any]) -> dict[str, Any]:
        action_logits = self.policy(batch["obs"])
        return {"action_dist": tf_distributions.Categorical(logits=action_logits)}


class Pair(TfRLModule, InferenceOnlyAPI):
    """Returns inputs of a distribution, and has a value function that acting lacks."""

    def setup(self):
        self.pi = keras.layers.Dense(2)
        self.heads = {"vf": [keras.layers.Dense(1)]}
        self.scale = tf.Variable(1.0)

    def get_non_inference_attributes(self):
        return ["heads"]

    def _forward(self, batch, **kwargs):
        return {Columns.ACTION_DIST_INPUTS: self.pi(batch[Columns.OBS]) * self.scale}

    def _forward_train(self, batch, **kwargs):
        values = self.heads["vf"][0](batch[Columns.OBS])[:, 0]
        return {**self._forward(batch), "vf_preds": values, "training": self.training}


class Recurrent(TfRLModule):
    def setup(self):
        self.cell = keras.layers.GRUCell(3)
        self.pi = keras.layers.Dense(2)
        self.pi.build((None, 3))
        self.cell.build((None, 4))

    def get_initial_state(self):
        return {"h": np.zeros(3, np.float32)}

    def _forward(self, batch, **kwargs):
        outs, h = [], batch[Columns.STATE_IN]["h"]
        for t in range(batch[Columns.OBS].shape[1]):
            out, (h,) = self.cell(batch[Columns.OBS][:, t], [h])
            outs.append(out)
        return {Columns.ACTION_DIST_INPUTS: self.pi(tf.stack(outs, 1)), Columns.STATE_OUT: {"h": h}}


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


# -- construction -------------------------------------------------------------------------------------------------


def test_the_documents_module_runs_as_written():
    module = Document(RLModuleConfig(**CONFIG))
    assert (module.framework, module.input_dim) == ("tf2", 4)
    for forward in (module.forward_inference, module.forward_exploration, module.forward_train):
        dist = forward({"obs": tf.constant(OBS)})["action_dist"]
        assert isinstance(dist, tf_distributions.Categorical)
        assert tuple(dist.logits.shape) == (5, 2)
    assert isinstance(RLModuleSpec(module_class=Document, **KW).build(), Document)
    actions, state = module.compute_actions(OBS)
    assert (actions == np.asarray(dist.logits).argmax(-1)).all()
    assert state == {}


def test_the_size_of_a_discrete_space_is_one_that_keras_takes():
    module = DiscreteBCTfModule(**KW)
    assert (type(module.action_space.n), module.action_space) == (int, KW["action_space"])
    assert type(KW["action_space"].n) is not int


def test_both_constructor_forms_and_what_they_refuse():
    config = RLModuleConfig(**CONFIG)
    for module in (DiscreteBCTfModule(config), DiscreteBCTfModule(**KW)):
        assert module.model_config["fcnet_hiddens"] == [8]
        assert [tuple(v.shape) for v in module.trainable_variables] == [(4, 8), (8,), (8, 2), (2,)]
    with pytest.raises(TypeError, match="no_such"):
        DiscreteBCTfModule(**KW, no_such=1)
    with pytest.raises(TypeError, match="RLModuleConfig"):
        DiscreteBCTfModule(KW["observation_space"])


def test_weights_follow_from_the_seed_and_nothing_else_is_touched():
    import random

    torch.manual_seed(5)
    random.seed(1)
    one = DiscreteBCTfModule(**KW).get_state()
    after = random.random()
    torch.manual_seed(5)
    random.seed(2)
    same(one, DiscreteBCTfModule(**KW).get_state())
    random.seed(1)
    assert random.random() == after
    other = DiscreteBCTfModule(**KW).get_state()
    assert (other["policy.0.kernel"] != one["policy.0.kernel"]).any()


def test_layers_that_cannot_be_called_say_so():
    class Needs(DiscreteBCTfModule):
        def _forward(self, batch, **kwargs):
            return super()._forward({Columns.OBS: batch["else"]})

    with pytest.raises(ConfigError, match=r"Needs: its layers have no variables yet.*KeyError: 'else'.*setup\(\)"):
        Needs(**KW)


# -- forwards and acting ------------------------------------------------------------------------------------------


def test_forwards_set_training_and_give_tensors():
    module = Pair(**KW)
    assert module.forward_train({"obs": OBS})["training"] is True
    out = module.forward_exploration({"obs": torch.tensor(OBS)})
    assert tf.is_tensor(out[Columns.ACTION_DIST_INPUTS])
    assert module.training  # as it was
    assert not module.eval().training
    module = Pair(**KW, inference_only=True)
    with pytest.raises(RuntimeError, match="inference_only"):
        module.forward_train({"obs": OBS})
    assert set(module({"obs": OBS})) == {Columns.ACTION_DIST_INPUTS}


def test_specs_are_checked():
    class Checked(Pair):
        def input_specs_exploration(self):
            return ["obs", "more"]

        def output_specs_train(self):
            return ["values"]

    module = Checked.__new__(Checked)
    with pytest.raises(Exception, match=r"output of Checked.forward_train"):
        module.__init__(**KW)
    module = Checked(**{**KW, "inference_only": True, "observation_space": None})
    with pytest.raises(Exception, match=r"input of Checked.forward_exploration"):
        module.forward_exploration({"obs": OBS})


@pytest.mark.parametrize("cls", [DiscreteBCTfModule, Pair], ids=["live", "inputs"])
def test_acting_by_hand(cls):
    module = cls(**KW)
    out = module.forward_inference({"obs": OBS})
    logits = np.asarray(out["action_dist"].logits if "action_dist" in out else out[Columns.ACTION_DIST_INPUTS])
    actions, _ = module.compute_actions(OBS)
    np.testing.assert_array_equal(actions, logits.argmax(-1))
    action, _ = module.compute_single_action(OBS[0])
    assert action == actions[0]
    torch.manual_seed(0)
    first, _, extra = module.compute_actions_from_input_dict({"obs": OBS}, explore=True)
    logp = torch.log_softmax(torch.tensor(logits), -1)[torch.arange(5), torch.tensor(first)]
    np.testing.assert_allclose(extra["action_logp"], logp, atol=1e-5)
    np.testing.assert_allclose(extra["action_prob"], logp.exp(), atol=1e-5)
    np.testing.assert_allclose(module.compute_log_likelihoods(first, OBS), logp, atol=1e-5)
    torch.manual_seed(0)
    np.testing.assert_array_equal(module.compute_actions_from_input_dict({"obs": OBS}, explore=True)[0], first)
    drawn = np.concatenate([module.compute_actions(OBS[:1].repeat(500, 0), explore=True)[0] for _ in range(4)])
    assert abs(drawn.mean() - np.exp(logits[0, 1]) / np.exp(logits[0]).sum()) < 0.06


def test_it_acts_as_the_torch_module_with_the_same_weights():
    torch_module, module = DiscreteBCTorchModule(**KW), DiscreteBCTfModule(**KW)
    state = torch_module.get_state()
    module.set_state(
        {
            "policy.0.kernel": state["policy.0.weight"].T,
            "policy.0.bias": state["policy.0.bias"],
            "policy.1.kernel": state["policy.2.weight"].T,
            "policy.1.bias": state["policy.2.bias"],
        }
    )
    mine = module.forward_train({"obs": OBS})["action_dist"].log_probs
    theirs = torch_module.forward_train({"obs": torch.tensor(OBS)})["action_dist"].logits
    np.testing.assert_allclose(mine, theirs.detach(), atol=1e-5)
    np.testing.assert_array_equal(module.compute_actions(OBS)[0], torch_module.compute_actions(OBS)[0])


def test_actions_of_its_own_and_boxes_in_env_units():
    class Own(TfRLModule):
        def _forward(self, batch, **kwargs):
            return {Columns.ACTIONS: np.ones(len(batch["obs"]), np.int64)}

    assert Own(**KW).compute_actions(OBS)[0].tolist() == [1] * 5

    class Nothing(Own):
        def _forward(self, batch, **kwargs):
            return {}

    with pytest.raises(Exception, match=r"Nothing._forward_inference must return 'actions'"):
        Nothing(**KW).compute_actions(OBS)
    box = Pair(**{**KW, "action_space": gym.spaces.Box(3.0, 5.0, (1,))})
    box.pi.bias.assign([0.5, -20.0])
    box.pi.kernel.assign(np.zeros((4, 2)))
    for explore in (False, True):
        np.testing.assert_allclose(box.compute_actions(OBS, explore=explore)[0], np.full((5, 1), 4.5), atol=1e-4)


def test_recurrent_state_is_carried():
    module = Recurrent(**KW)
    assert module.is_stateful()
    actions, state = module.compute_actions(OBS)
    assert state["h"].shape == (5, 3)
    one, state1 = module.compute_single_action(OBS[0])
    _, again = module.compute_single_action(OBS[0], state1)
    assert (one, state1["h"].shape) == (actions[0], (3,))
    assert (again["h"] != state1["h"]).any()
    torch.manual_seed(0)
    explored, _, extra = module.compute_actions_from_input_dict({"obs": OBS}, explore=True)
    assert explored.shape == extra["action_logp"].shape == (5,)


# -- state --------------------------------------------------------------------------------------------------------


def test_state_is_by_path_and_set_strictly():
    module, other = Pair(**KW), Pair(**KW)
    state = module.get_state()
    assert set(state) == {"pi.kernel", "pi.bias", "heads.vf.0.kernel", "heads.vf.0.bias", "scale"}
    other.set_state(state)
    same(other.get_state(), state)
    state["pi.kernel"][:] = 7.0  # a copy
    assert (other.get_state()["pi.kernel"] != 7.0).all()
    with pytest.raises(StateError, match=r"missing: pi.bias"):
        other.set_state({name: x for name, x in state.items() if name != "pi.bias"})
    with pytest.raises(StateError, match=r"pi.kernel is \(4, 2\) here and \(2, 4\) in the state"):
        other.set_state({**state, "pi.kernel": state["pi.kernel"].T})
    other.set_state({"pi.bias": np.ones(2)}, strict=False)
    assert other.get_state()["pi.bias"].tolist() == [1, 1]


def test_an_inference_only_copy_lacks_what_acting_does_not_need():
    module, acting = Pair(**KW), Pair(**KW, inference_only=True)
    assert not hasattr(acting, "heads")
    part = module.get_state(inference_only=True)
    assert set(part) == {"pi.kernel", "pi.bias", "scale"} == set(acting.get_state())
    acting.set_state(part)
    acting.set_state(module.get_state())  # what it lacks is left aside
    np.testing.assert_array_equal(acting.compute_actions(OBS)[0], module.compute_actions(OBS)[0])


def test_checkpoints_restore_exactly(tmp_path):
    module = DiscreteBCTfModule(**KW)
    module.save_to_path(tmp_path / "module")
    assert (tmp_path / "module" / "module_state.safetensors").exists() or list(
        (tmp_path / "module").glob("*.safetensors")
    )
    again = RLModule.from_checkpoint(tmp_path / "module")
    assert type(again) is DiscreteBCTfModule
    same(again.get_state(), module.get_state())
    other = DiscreteBCTfModule(**KW)
    other.restore_from_path(tmp_path / "module")
    np.testing.assert_array_equal(other.compute_actions(OBS)[0], module.compute_actions(OBS)[0])


# -- several ------------------------------------------------------------------------------------------------------


def test_several_modules_together(tmp_path):
    spec = MultiRLModuleSpec(rl_module_specs={mid: RLModuleSpec(module_class=DiscreteBCTfModule, **KW) for mid in "ab"})
    multi = spec.build()
    assert (multi.framework, list(multi.keys())) == ("tf2", ["a", "b"])
    out = multi.forward_train({"b": {"obs": OBS}})
    assert list(out) == ["b"]
    assert len(multi.unique_parameters()) == 8
    multi.save_to_path(tmp_path / "multi")
    again = MultiRLModule.from_checkpoint(tmp_path / "multi")
    for mid in "ab":
        same(again.get_state()[mid], multi.get_state()[mid])
    multi.remove_module("a")
    multi.add_module("c", Pair(**KW))
    assert list(multi.get_state()) == ["b", "c"]
    with pytest.raises(ValueError, match="torch, the others are tf2"):
        multi.add_module("d", DiscreteBCTorchModule(**KW))
    single = Pair(**KW)
    assert single.as_multi_rl_module()["default_policy"] is single
    mixed = {"a": spec.rl_module_specs["a"], "b": RLModuleSpec(module_class=DiscreteBCTorchModule, **KW)}
    with pytest.raises(SpecError, match="same framework"):
        MultiRLModuleSpec(rl_module_specs=mixed).build()
