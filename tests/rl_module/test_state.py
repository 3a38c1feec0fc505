"""State of single modules: exact, strict, in place."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rlkit_core import RLModule, TorchRLModule
from rlkit_core.apis import InferenceOnlyAPI, TargetNetworkAPI
from rlkit_core.errors import StateError
from rlkit_core.learner import make_target_network

OBS = gym.spaces.Box(-1.0, 1.0, (4,))
ACT = gym.spaces.Discrete(2)


class Buffers(TorchRLModule):
    def setup(self) -> None:
        for name, (dtype, shape) in self.model_config["buffers"].items():
            self.register_buffer(name, torch.zeros(shape, dtype=getattr(torch, dtype)))


class Nested(TorchRLModule, InferenceOnlyAPI):
    def setup(self) -> None:
        self.pi = nn.Linear(4, 2)
        self.vf = nn.Linear(4, 1)
        self.vf_extra = nn.Linear(4, 1)
        self.encoder = nn.ModuleDict({"pol": nn.Linear(4, 4), "vf": nn.Linear(4, 4)})
        self.stack = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))

    def get_non_inference_attributes(self) -> list[str]:
        return ["vf", "encoder.vf", "stack.1", "never.built", "absent"]


class Targets(TorchRLModule, TargetNetworkAPI):
    def setup(self) -> None:
        self.net = nn.Linear(4, 2)

    def make_target_networks(self) -> None:
        self.target = make_target_network(self.net)

    def get_target_network_pairs(self):
        return [(self.net, self.target)]

    def forward_target(self, batch):
        return {"qf": self.target(batch["obs"])}


buffers = st.dictionaries(
    st.sampled_from(["one", "two", "three"]),
    st.tuples(
        st.sampled_from(["float32", "float64", "float16", "bfloat16", "int64", "uint8", "bool"]),
        st.lists(st.integers(0, 3), max_size=3),
    ),
    min_size=1,
)


@settings(deadline=None, max_examples=40)
@given(buffers, st.integers(0, 2**31))
def test_state_round_trips_exactly(spec, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    kwargs = {"observation_space": OBS, "action_space": ACT, "model_config": {"buffers": spec}}
    module, other = Buffers(**kwargs), Buffers(**kwargs)
    for name, tensor in module.named_buffers():
        tensor.copy_(torch.randint(0, 200, tensor.shape, generator=generator))
        assert tuple(tensor.shape) == tuple(spec[name][1])
    other.set_state(module.get_state())
    for name, tensor in other.named_buffers():
        assert tensor.dtype is getattr(torch, spec[name][0])
        assert torch.equal(tensor, module.get_buffer(name))


def nested(**kwargs) -> Nested:
    return Nested(observation_space=OBS, action_space=ACT, **kwargs)


def test_state_is_a_copy_and_loading_is_in_place() -> None:
    module, other = nested(), nested()
    weight = other.pi.weight
    state = module.get_state()
    assert all(isinstance(value, np.ndarray) for value in state.values())
    with torch.no_grad():
        module.pi.weight += 1
    assert not np.array_equal(state["pi.weight"], module.get_state()["pi.weight"])
    other.set_state(state)
    assert other.pi.weight is weight
    assert np.array_equal(other.get_state()["pi.weight"], state["pi.weight"])
    other.set_state({name: torch.from_numpy(value) for name, value in module.get_state().items()})
    assert torch.equal(other.pi.weight, module.pi.weight)


def test_dotted_attributes_are_removed_from_their_parent() -> None:
    module = nested(inference_only=True)
    assert not hasattr(module, "vf")
    assert hasattr(module, "vf_extra")
    assert list(module.encoder) == ["pol"]
    assert len(module.stack) == 1
    assert hasattr(module, "pi")


def test_inference_only_states() -> None:
    full, small = nested(), nested(inference_only=True)
    state = full.get_state(inference_only=True)
    assert set(state) == set(small.get_state()) == set(small.get_state(inference_only=True))
    assert "vf_extra.weight" in state
    small.set_state(state)
    small.set_state(full.get_state())  # what was stripped is ignored
    assert torch.equal(small.encoder["pol"].weight, full.encoder["pol"].weight)
    with pytest.raises(StateError, match=r"unexpected: other\.weight"):
        small.set_state(full.get_state() | {"other.weight": np.zeros(1)})
    with pytest.raises(StateError, match=r"missing: vf\.weight"):
        full.set_state(state)
    full.set_state(state, strict=False)


def test_wrong_states_change_nothing() -> None:
    module = nested()
    before = module.get_state()
    bad = {**{name: value + 1 for name, value in before.items()}, "stack.1.bias": np.zeros(7, np.float32)}
    with pytest.raises(StateError, match=r"Nested: size mismatch: stack\.1\.bias is \(1,\) here and \(7,\)"):
        module.set_state(bad)
    with pytest.raises(RuntimeError):
        module.set_state(bad, strict=False)
    after = module.get_state()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_stripped_module_reopens_stripped(tmp_path) -> None:
    small = nested(inference_only=True)
    small.save_to_path(tmp_path / "m")
    again = RLModule.from_checkpoint(tmp_path / "m")
    assert again.inference_only
    assert not hasattr(again, "vf")


def test_state_with_and_without_target_networks(tmp_path) -> None:
    kwargs = {"observation_space": OBS, "action_space": ACT}
    plain, trained = Targets(**kwargs), Targets(**kwargs)
    trained.make_target_networks()
    with torch.no_grad():
        trained.net.bias += 5
    trained.save_to_path(tmp_path / "m")
    again = RLModule.from_checkpoint(tmp_path / "m")  # built without targets, which the state brings
    assert torch.equal(again.target.bias, trained.target.bias)
    assert not torch.equal(again.target.bias, again.net.bias)
    assert set(trained.get_state(inference_only=True)) == set(plain.get_state())
    trained.set_state(plain.get_state())  # without targets: they follow
    assert torch.equal(trained.target.weight, plain.net.weight)
    with pytest.raises(StateError, match=r"missing: net\.bias"):
        trained.set_state({"net.weight": plain.get_state()["net.weight"]})
