"""MultiRLModule: mapping, membership, sharing, state."""

from __future__ import annotations

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rlkit_core import MultiRLModule, MultiRLModuleSpec, RLModule, RLModuleSpec, TorchRLModule
from rlkit_core.errors import CheckpointError, SpecError, StateError
from rlkit_core.rl_module import validate_module_id
from rlkit_core.testing import (
    BCTorchMultiAgentModuleWithSharedEncoder,
    BCTorchRLModuleWithSharedGlobalEncoder,
    DiscreteBCTorchModule,
)

OBS = gym.spaces.Box(-1.0, 1.0, (4,))
ACT = gym.spaces.Discrete(2)


def spec(width: int = 8, **kwargs) -> RLModuleSpec:
    return RLModuleSpec(DiscreteBCTorchModule, OBS, ACT, model_config={"fcnet_hiddens": [width]}, **kwargs)


def shared_spec() -> MultiRLModuleSpec:
    def one(local: int, actions: int) -> RLModuleSpec:
        box = gym.spaces.Box
        return RLModuleSpec(
            observation_space=gym.spaces.Dict({"global": box(-1, 1, (2,)), "local": box(-1, 1, (local,))}),
            action_space=gym.spaces.Discrete(actions),
            model_config={"fcnet_hiddens": [8]},
        )

    return MultiRLModuleSpec(
        multi_rl_module_class=BCTorchMultiAgentModuleWithSharedEncoder,
        rl_module_specs={"local_2d": one(2, 2), "local_5d": one(5, 5)},
    )


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(
        equal(a[key], b[key]) if isinstance(a[key], dict) else np.array_equal(a[key], b[key]) for key in a
    )


class Plain(RLModule):
    def _forward(self, batch, **kwargs):
        return {"actions": [0]}


def test_mapping() -> None:
    multi = MultiRLModule(rl_module_specs={"a": spec(), "b": spec(4)})
    assert list(multi) == list(multi.keys()) == ["a", "b"]
    assert len(multi) == 2
    assert "a" in multi
    assert "c" not in multi
    assert dict(multi.items())["b"] is multi["b"] is list(multi.values())[1]
    assert multi.get("c") is None
    assert multi.get("c", 3) == 3
    with pytest.raises(KeyError, match=r"no module 'c'; there are 'a', 'b'"):
        multi["c"]
    assert "DiscreteBCTorchModule" in repr(multi)
    assert bool(MultiRLModule(rl_module_specs={}))
    assert MultiRLModule().get_state() == {}


def test_as_multi_rl_module_holds_the_very_same_weights() -> None:
    module = spec().build()
    multi = module.as_multi_rl_module()
    assert type(multi) is MultiRLModule
    assert list(multi.keys()) == ["default_policy"]
    assert multi["default_policy"] is module
    assert multi.as_multi_rl_module() is multi
    assert multi.unwrapped() is multi
    assert multi.rl_module_specs["default_policy"] == spec()


def test_ids_that_nn_module_would_refuse_and_members_without_torch() -> None:
    multi = MultiRLModule(rl_module_specs={"train": spec(), "p.0": spec(), "keys": spec()})
    multi.add_module("plain", Plain(observation_space=OBS, action_space=ACT))
    assert len(list(multi.parameters())) == 12
    assert list(multi.get_state()) == ["train", "p.0", "keys", "plain"]
    assert multi.get_state()["plain"] == {}
    assert multi.forward_exploration({"plain": {}})["plain"] == {"actions": [0]}
    clone = copy.deepcopy(multi)
    assert list(clone.keys()) == list(multi.keys())
    assert equal(clone.get_state(), multi.get_state())


@pytest.mark.parametrize("bad", ["", "a/b", "a:b", "end.", "end ", 'q"', 3])
def test_invalid_ids(bad) -> None:
    with pytest.raises(ValueError, match="module id"):
        MultiRLModule(rl_module_specs={bad: spec()})
    with pytest.warns(UserWarning, match="module id"):
        assert not validate_module_id(bad)


def test_add_and_remove() -> None:
    multi = MultiRLModule(rl_module_specs={"a": spec()})
    multi.add_module("b", spec(4).build())
    assert multi.rl_module_specs["b"] == spec(4)
    with pytest.raises(ValueError, match="'b' exists already; pass override=True"):
        multi.add_module("b", spec().build())
    multi.add_module("b", spec(2).build(), override=True)
    assert multi["b"].policy[0].out_features == 2
    with pytest.raises(ValueError, match="expected an RLModule, got Linear"):
        multi.add_module("c", nn.Linear(1, 1))
    multi.remove_module("b")
    assert list(multi.keys()) == ["a"]
    assert "b" not in multi.rl_module_specs
    with pytest.raises(KeyError, match="no module 'b'"):
        multi.remove_module("b")
    multi.remove_module("b", raise_err_if_not_found=False)
    multi.remove_module("a")
    assert len(multi) == 0


def test_frameworks_must_agree() -> None:
    class Other(Plain):
        framework = "other"

    other = RLModuleSpec(Other, OBS, ACT)
    with pytest.raises(SpecError, match="'a' is torch, 'b' is other"):
        MultiRLModule(rl_module_specs={"a": spec(), "b": other})
    multi = MultiRLModule(rl_module_specs={"a": spec()})
    with pytest.raises(ValueError, match="it is other, the others are torch"):
        multi.add_module("b", other.build())


def test_foreach_module() -> None:
    multi = MultiRLModule(rl_module_specs={"a": spec(), "b": spec(4)})
    assert multi.foreach_module(lambda module_id, module, plus: module_id + plus, plus="!") == ["a!", "b!"]
    widths = multi.foreach_module(lambda module_id, module: module.policy[0].out_features, return_dict=True)
    assert widths == {"a": 8, "b": 4}


def test_inference_only_is_forced_on_or_read_from_the_members() -> None:
    inference = spec(inference_only=True)
    assert MultiRLModule(rl_module_specs={"a": inference, "b": inference}).inference_only
    mixed = MultiRLModule(rl_module_specs={"a": inference, "b": spec()})
    assert not mixed.inference_only
    forced = MultiRLModule(rl_module_specs={"a": spec(), "b": spec(learner_only=True)}, inference_only=True)
    assert list(forced.keys()) == ["a"]
    assert forced["a"].inference_only
    with pytest.raises(RuntimeError, match="inference_only"):
        forced.forward_train({})
    forced.add_module("c", spec().build())
    assert not forced.inference_only
    assert inference.build().as_multi_rl_module().inference_only


def test_forwards_run_members_and_skip_unknown_ids() -> None:
    multi = MultiRLModule(rl_module_specs={"a": spec(), "b": spec()})
    batch = {"a": {"obs": torch.zeros(3, 4)}, "unknown": {"obs": torch.zeros(1, 4)}}
    for method in (multi.forward_train, multi.forward_exploration, multi.forward_inference):
        out = method(batch)
        assert list(out) == ["a"]
        assert out["a"]["action_dist"].logits.shape == (3, 2)
    assert set(multi.get_train_action_dist_cls()) == {"a", "b"}
    assert multi.get_initial_state() == {"a": {}, "b": {}}
    assert not multi.is_stateful()


def test_shared_encoder_is_seen_once() -> None:
    multi = shared_spec().build()
    first, second = multi["local_2d"], multi["local_5d"]
    assert first.encoder is second.encoder
    unique = multi.unique_parameters()
    assert len({id(p) for _, _, p in unique}) == len(unique) == len(list(multi.parameters())) == 4 + 4 + 4
    assert {m for m, n, _ in unique if n.startswith("encoder")} == {"local_2d"}
    only_second = multi.unique_parameters(["local_5d"])
    assert {m for m, n, _ in only_second} == {"local_5d"}
    assert len(only_second) == 8
    with torch.no_grad():
        first.encoder[0].bias += 1
    assert torch.equal(first.encoder[0].bias, second.encoder[0].bias)


def test_shared_encoder_trains_with_gradients_of_all() -> None:
    torch.manual_seed(0)
    multi = shared_spec().build()
    optimizer = torch.optim.SGD([p for _, _, p in multi.unique_parameters()], lr=0.5)

    def batch(local: int) -> dict:
        return {"obs": {"global": torch.randn(64, 2), "local": torch.randn(64, local)}}

    data = {"local_2d": batch(2), "local_5d": batch(5)}
    labels = {key: (value["obs"]["global"][:, 0] > 0).long() for key, value in data.items()}

    def loss(keys=tuple(data)) -> torch.Tensor:
        out = multi.forward_train(data)
        return sum(-out[key]["action_dist"].log_prob(labels[key]).mean() for key in keys)

    weight = multi["local_2d"].encoder[0].weight
    parts = [torch.autograd.grad(loss([key]), weight)[0] for key in data]
    assert torch.allclose(torch.autograd.grad(loss(), weight)[0], parts[0] + parts[1], atol=1e-6)
    start = loss().item()
    for _ in range(100):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < start / 4


def test_shared_state_is_under_each_with_a_note_and_round_trips(tmp_path) -> None:
    multi, other = shared_spec().build(), shared_spec().build()
    state = multi.get_state()
    assert {"local_2d/encoder.0.weight", "local_5d/encoder.0.weight"} in [set(names) for names in state["__shared__"]]
    assert not equal(other.get_state()["local_2d"], state["local_2d"])
    other.set_state(state)
    assert equal(other.get_state()["local_5d"], state["local_5d"])
    multi.save_to_path(tmp_path / "m")
    again = MultiRLModule.from_checkpoint(tmp_path / "m")
    assert type(again) is BCTorchMultiAgentModuleWithSharedEncoder
    assert again["local_2d"].encoder is again["local_5d"].encoder
    assert equal(again.get_state()["local_5d"], state["local_5d"])


def test_live_network_in_a_top_level_model_config_is_refused(tmp_path) -> None:
    settings_ = {"encoder": nn.Linear(2, 8), "hidden_dim": 8, "local_dim": 2, "action_dim": 2}
    module = BCTorchRLModuleWithSharedGlobalEncoder(observation_space=OBS, action_space=ACT, model_config=settings_)
    with pytest.raises(CheckpointError, match=r"encoder.*live nn\.Module"):
        module.save_to_path(tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"live nn\.Module"):
        module.as_multi_rl_module().save_to_path(tmp_path / "n")


class OwnParameters(MultiRLModule):
    def setup(self) -> None:
        super().setup()
        self.mixer = nn.Linear(3, 3)


def test_parameters_of_its_own() -> None:
    multi, other = (OwnParameters(rl_module_specs={"a": spec()}) for _ in range(2))
    assert [m for m, _, _ in multi.unique_parameters()] == ["a"] * 4 + ["__all_modules__"] * 2
    state = multi.get_state()
    assert set(state) == {"a", "__self__"}
    assert set(state["__self__"]) == {"mixer.weight", "mixer.bias"}
    other.set_state(state)
    assert equal(other.get_state(), state)
    with pytest.raises(StateError, match="__self__"):
        other.set_state({"a": state["a"]})
    other.set_state({"a": state["a"]}, strict=False)


def test_state_names_missing_and_unexpected_modules() -> None:
    multi = MultiRLModule(rl_module_specs={"a": spec(), "b": spec()})
    state = multi.get_state()
    with pytest.raises(StateError, match=r"missing: b"):
        multi.set_state({"a": state["a"]})
    with pytest.raises(StateError, match=r"unexpected: c"):
        multi.set_state(state | {"c": {}})
    with pytest.raises(StateError, match=r"module 'b'.*missing: policy\.0\.weight"):
        multi.set_state(state | {"b": {k: v for k, v in state["b"].items() if k != "policy.0.weight"}})
    other = MultiRLModule(rl_module_specs={"a": spec(), "b": spec()})
    other.set_state({"a": state["a"], "c": {}}, strict=False)
    assert equal(other.get_state()["a"], state["a"])


def test_state_filters() -> None:
    multi = MultiRLModule(rl_module_specs={"a": spec(), "b": spec(learner_only=True)})
    assert list(multi.get_state("a")) == ["a"]
    assert list(multi.get_state(["a", "b/x"])) == ["a", "b"]
    assert list(multi.get_state(not_components=["a"])) == ["b"]
    assert list(multi.get_state(inference_only=True)) == ["a"]


def test_checkpoints_follow_membership(tmp_path) -> None:
    multi = MultiRLModule(rl_module_specs={"a": spec()})
    path = tmp_path / "m"

    def check() -> None:
        multi.save_to_path(path)
        again = MultiRLModule.from_checkpoint(path)
        assert again is not multi
        assert list(again.keys()) == list(multi.keys())
        assert equal(again.get_state(), multi.get_state())

    multi.add_module("b", spec(4).build())
    multi.add_module("c", spec(2).build())
    check()
    multi.remove_module("a")
    check()
    multi.add_module("d", spec(16).build())
    check()


def test_one_member_restores_alone(tmp_path) -> None:
    multi = MultiRLModule(rl_module_specs={"a": spec(), "b": spec()})
    module = spec().build()
    module.save_to_path(tmp_path / "one")
    multi.restore_from_path(tmp_path / "one", component="b")
    assert equal(multi["b"].get_state(), module.get_state())
    wide = spec(16).build()
    wide.save_to_path(tmp_path / "wide")
    with pytest.raises(CheckpointError, match="size mismatch"):
        multi.restore_from_path(tmp_path / "wide", component="b")


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.integers(1, 5)), max_size=8))
def test_any_history_of_members_round_trips(history) -> None:
    multi = MultiRLModule(rl_module_specs={})
    model: dict[str, int] = {}
    for module_id, add, width in history:
        if add:
            multi.add_module(module_id, spec(width).build(), override=True)
            model.pop(module_id, None) if module_id not in model else None
            model[module_id] = width
        else:
            multi.remove_module(module_id, raise_err_if_not_found=False)
            model.pop(module_id, None)
    assert list(multi.keys()) == list(model)
    other = MultiRLModuleSpec.from_module(multi).build()
    other.set_state(multi.get_state())
    assert equal(other.get_state(), multi.get_state())
    assert len(multi.unique_parameters()) == 4 * len(model)


def test_assigned_dict_registers_later_additions() -> None:
    class Custom(MultiRLModule):
        def setup(self) -> None:
            self._rl_modules = {"a": spec().build()}
            self._rl_modules["b"] = spec().build()

    multi = Custom()
    assert len(list(multi.parameters())) == 8
    assert isinstance(multi["b"], TorchRLModule)
    assert multi.to(torch.float64)["b"].policy[0].weight.dtype is torch.float64
