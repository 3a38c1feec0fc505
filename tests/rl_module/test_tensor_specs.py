"""Input and output specs that really check."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import MultiRLModule, RLModuleSpec, TorchRLModule
from rlkit_core.errors import SpecError
from rlkit_core.rl_module import TensorSpec
from rlkit_core.rl_module.tensor_specs import check_specs

KW = {"observation_space": gym.spaces.Box(-1.0, 1.0, (4,)), "action_space": gym.spaces.Discrete(2)}


class Checked(TorchRLModule):
    def input_specs_train(self):
        return {"obs": TensorSpec("b, d", d=4, dtype=torch.float32), ("info", "goal"): TensorSpec("b")}

    def output_specs_train(self):
        return {"values": TensorSpec("b")}

    def _forward(self, batch, **kwargs):
        return self.model_config["out"]


def run(out, batch):
    return Checked(**KW, model_config={"out": out}).forward_train(batch)


GOOD = {"obs": torch.zeros(3, 4), "info": {"goal": torch.zeros(3)}}


def test_good_batches_pass() -> None:
    out = {"values": torch.zeros(5)}
    assert run(out, GOOD) is out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"obs": None}, r"key obs: expected TensorSpec\('b, 4', dtype=torch.float32\), got NoneType"),
        (
            {"obs": torch.zeros(3, 5)},
            r"Checked\.forward_train, key obs: expected shape \(b, 4\).*got \(3, 5\)",
        ),
        ({"obs": torch.zeros(3, 4).double()}, r"expected dtype torch\.float32, got torch\.float64"),
        ({"info": {}}, r"input of Checked\.forward_train: expected key info/goal, got keys none"),
        ({"info": {"goal": torch.zeros(2)}}, r"key info/goal: expected shape \(b\) with b=3, got \(2,\)"),
    ],
)
def test_bad_batches_name_key_expected_and_got(change, message) -> None:
    with pytest.raises(SpecError, match=message):
        run({"values": torch.zeros(3)}, GOOD | change)


def test_bad_outputs() -> None:
    with pytest.raises(SpecError, match=r"output of Checked\.forward_train: expected key values, got keys x"):
        run({"x": 1}, GOOD)


@pytest.mark.covers("variable:RLKIT_CHECK_SPECS")
def test_other_phases_keep_their_defaults_and_are_checked_on_request(monkeypatch) -> None:
    module = Checked(**KW, model_config={"out": {}})
    assert module.input_specs_inference() == ["obs"]
    assert module.forward_inference({}) == {}
    strict = Checked(**KW, model_config={"out": {}, "always_check_shapes": True})
    with pytest.raises(SpecError, match="expected key obs"):
        strict.forward_inference({})
    with pytest.raises(SpecError, match="one of the keys actions, action_dist_inputs, action_dist"):
        strict.forward_exploration({"obs": 1})
    monkeypatch.setenv("RLKIT_CHECK_SPECS", "1")
    with pytest.raises(SpecError, match="expected key obs"):
        Checked(**KW, model_config={"out": {}}).forward_inference({})


def test_multi_modules_check_members() -> None:
    multi = MultiRLModule(rl_module_specs={"a": RLModuleSpec(Checked, **KW, model_config={"out": {"values": 1}})})
    with pytest.raises(SpecError, match="key obs"):
        multi.forward_train({"a": {"obs": 1}})
    assert multi.input_specs_train() is None


def test_forms() -> None:
    check_specs(["a", ("b", "c")], {"a": 1, "b": {"c": 2}}, "x")
    check_specs({"a": {"b": np.ndarray, "c": None}}, {"a": {"b": np.zeros(1), "c": 1}}, "x")
    check_specs(None, 3, "x")
    with pytest.raises(SpecError, match="expected key b/c, got int"):
        check_specs([("b", "c")], {"a": 1, "b": 2}, "x")
    with pytest.raises(SpecError, match="expected ndarray, got int"):
        check_specs({"a": np.ndarray}, {"a": 1}, "x")
    with pytest.raises(SpecError, match="expected a dict, got int"):
        check_specs({"a": {"b": None}}, {"a": 1}, "x")
    with pytest.raises(SpecError, match="expected a dict, got list"):
        check_specs(["a"], [], "x")


def test_tensor_spec() -> None:
    TensorSpec("..., d", d=3).validate(np.zeros((7, 5, 3)))
    TensorSpec((2, "x", "x")).validate(np.zeros((2, 4, 4)))
    TensorSpec("b", framework="np").validate(np.zeros(1))
    with pytest.raises(SpecError, match=r"x=4.*got \(2, 4, 5\)"):
        TensorSpec((2, "x", "x")).validate(np.zeros((2, 4, 5)))
    with pytest.raises(SpecError, match="array of torch, got ndarray"):
        TensorSpec("b", framework="torch").validate(np.zeros(1))
    with pytest.raises(ValueError, match="names no axis h"):
        TensorSpec("b", h=3)
    assert TensorSpec("b, h", h=3) == TensorSpec("b, 3")
