"""Modules that come and go while a learner trains, and learners restored into others."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core import Learner, MultiRLModuleSpec, RLModuleSpec
from rlkit_core.apis import TargetNetworkAPI
from rlkit_core.errors import ModuleAPIError, StateError
from rlkit_core.learner import LearnerGroup, make_target_network
from rlkit_core.testing import DiscreteBCTorchModule
from simple_modules import RandomRLModule

OBS = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
ACT = gym.spaces.Discrete(2)


class BCLearner(Learner):
    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        return -fwd_out["action_dist"].log_prob(batch["actions"]).mean()


def spec(width=8, module_class=DiscreteBCTorchModule):
    return RLModuleSpec(module_class, OBS, ACT, model_config={"fcnet_hiddens": [width]})


def config_for(*ids, width=8):
    specs = {mid: spec(width) for mid in ids}
    return (
        ACConfig()
        .training(lr=0.01, grad_clip=None)
        .learners(learner_class=BCLearner)
        .multi_agent(policies=list(ids))
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
        .debugging(seed=1)
    )


def learner_for(*ids, **kwargs):
    learner = config_for(*ids, **kwargs).build_learner()
    learner.build()
    return learner


def batch_for(*ids, seed=0, rows=32):
    obs = torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed))
    return {mid: {"obs": obs, "actions": (obs[:, 0] > 0).long()} for mid in ids}


def same(a, b):
    """Whether two (nested) states are equal to the last bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return np.array_equal(np.asarray(a), np.asarray(b))


def test_add_then_remove_leaves_only_the_new_module():
    learner = learner_for("p0")
    learner.update(batch_for("p0"))
    frozen = learner.config
    new = learner.add_module(module_id="test", module_spec=spec(4), config_overrides={"lr": 0.5, "grad_clip": 1.0})
    assert list(new.rl_module_specs) == list(learner.module.keys()) == ["p0", "test"]
    assert learner.config is not frozen
    assert learner.config.is_frozen
    assert frozen.policy_ids == ["p0"]
    assert learner.config.policy_ids == ["p0", "test"]
    assert "test" in learner.config._rl_module_spec
    assert learner.config.get_config_for_module("test").grad_clip == 1.0
    result = learner.update(batch_for("p0", "test"))
    assert result["test"]["default_optimizer_learning_rate"] == 0.5
    assert result["p0"]["default_optimizer_learning_rate"] == 0.01

    new = learner.remove_module("p0")
    assert list(new.rl_module_specs) == ["test"] == learner.config.policy_ids
    assert [name for name, _ in learner.get_optimizers_for_module()] == ["test_default_optimizer"]
    result = learner.update(batch_for("test"))
    assert "p0" not in result
    assert result["test"]["num_module_steps_trained_lifetime"] == 64
    before = {name: p.detach().clone() for name, p in learner.module["test"].named_parameters()}
    learner._set_optimizer_lr(learner.get_optimizer("test"), 1.0)
    learner.apply_gradients(learner.compute_gradients({"test": sum(p.sum() for p in learner.module.parameters())}))
    assert all((before[name] > p).all() for name, p in learner.module["test"].named_parameters())


def test_an_added_module_takes_what_it_lacks_from_the_algorithm():
    config = ACConfig().environment(observation_space=OBS, action_space=ACT).debugging(seed=1)
    learner = config.build_learner()
    learner.build()
    learner.add_module(
        module_id="other",
        module_spec=RLModuleSpec(),
        config_overrides={"entropy_coeff": 0.3},
    )
    assert type(learner.module["other"]) is type(learner.module["default_policy"])
    assert learner.config.get_config_for_module("other").entropy_coeff == 0.3
    learner.remove_module("other")
    assert "other" not in learner.module


def test_what_adding_and_removing_refuse_changes_nothing():
    learner = learner_for("p0")
    config, optimizers = learner.config, learner.get_optimizers_for_module()
    with pytest.raises(ValueError, match="already"):
        learner.add_module(module_id="p0", module_spec=spec())
    with pytest.raises(ValueError, match="module id"):
        learner.add_module(module_id="a/b", module_spec=spec())
    with pytest.raises(KeyError, match="'p0'"):
        learner.remove_module("other")

    class Broken(DiscreteBCTorchModule, TargetNetworkAPI):
        def make_target_networks(self):
            raise RuntimeError("no targets today")

        def get_target_network_pairs(self):
            return []

        def forward_target(self, batch):
            return {}

    with pytest.raises(RuntimeError, match="no targets"):
        learner.add_module(module_id="p1", module_spec=spec(module_class=Broken))
    assert learner.config is config
    assert list(learner.module.keys()) == ["p0"]
    assert learner.get_optimizers_for_module() == optimizers


def test_one_set_changes_all_that_differs():
    learner = learner_for("p0", "p1")
    learner.update(batch_for("p0", "p1"))
    kept = learner.module["p0"]
    present = learner.module_set
    assert learner.set_modules(present).new == {}
    wanted = present.without("p1").with_module("p2", spec(4), overrides={"lr": 0.5}, to_train=["p2"])
    difference = learner.set_modules(wanted)
    assert (difference.gone, list(difference.new)) == (("p1",), ["p2"])
    assert learner.module["p0"] is kept
    assert list(learner.module_set) == learner.config.policy_ids == ["p0", "p2"]
    assert learner.trained_modules == ("p2",)
    result = learner.update(batch_for("p0", "p2"))
    assert result["p2"]["default_optimizer_learning_rate"] == 0.5
    assert "total_loss" not in result.get("p0", {})
    again = learner.module_set.without("p0").with_module("p0", spec(6))
    assert learner.set_modules(again).rebuilt == ["p0"]
    assert learner.module["p0"] is not kept
    learner.update(batch_for("p0", "p2"))


def test_a_module_that_is_there_already_needs_no_building():
    learner = learner_for("p0")
    module = spec(4).build()
    learner.add_module(module_id="p1", module=module)
    assert learner.module["p1"] is module
    assert learner.set_modules(learner.module_set).new == {}
    with pytest.raises(ValueError, match="exactly one"):
        learner.add_module(module_id="p2", module=module, module_spec=spec(4))
    with pytest.raises(ValueError, match="exactly one"):
        learner.add_module(module_id="p2")


def test_what_a_set_cannot_bring_about_changes_nothing():
    learner = learner_for("p0", "p1")
    learner.update(batch_for("p0", "p1"))
    config, module = learner.config, learner.module["p0"]

    def refuse(module_id):
        if module_id == "p2":
            raise RuntimeError("not today")

    learner.on_module_added = refuse
    wanted = learner.module_set.without("p0").with_module("p0", spec(4)).without("p1").with_module("p2", spec())
    with pytest.raises(RuntimeError, match="not today"):
        learner.set_modules(wanted)
    assert learner.config is config
    assert sorted(learner.module.keys()) == ["p0", "p1"]
    assert learner.module["p0"] is module
    assert len(learner.get_optimizers_for_module()) == 2
    result = learner.update(batch_for("p0", "p1"))
    assert {"p0", "p1"} <= set(result)


def test_an_added_module_must_have_the_required_apis():
    class Strict(BCLearner):
        @classmethod
        def rl_module_required_apis(cls):
            return [TargetNetworkAPI]

    learner = config_for("p0").learners(learner_class=Strict).multi_agent(policies_to_train=[]).build_learner()
    learner.build()  # nothing is trained, so nothing is required
    with pytest.raises(ModuleAPIError, match="TargetNetworkAPI"):
        learner.add_module(module_id="p1", module_spec=spec(), new_should_module_be_updated=["p1"])
    learner.add_module(module_id="rnd", module_spec=spec(module_class=RandomRLModule))


class Followed(DiscreteBCTorchModule, TargetNetworkAPI):
    def make_target_networks(self):
        self.target = make_target_network(self.policy)

    def get_target_network_pairs(self):
        return [(self.policy, self.target)]

    def forward_target(self, batch):
        return {"logits": self.target(batch["obs"])}


def test_a_learner_alone_counts_for_its_target_networks():
    learner = config_for("p0").build_learner()
    learner.build()
    learner.add_module(module_id="p1", module_spec=spec(module_class=Followed))
    batch = batch_for("p1")
    count = len(batch["p1"]["obs"])
    for k in range(1, 4):
        result = learner.update(batch, reduce_metrics=k != 2)
    assert result["p1"]["num_target_updates"] == 3  # of the two that are reduced together, the last
    assert result["p1"]["last_target_update_ts"] == 3 * count


def test_an_added_module_gets_target_networks_that_follow():
    learner = learner_for("p0")
    learner.add_module(module_id="p1", module_spec=spec(module_class=Followed))
    module = learner.module["p1"]
    assert all(not p.requires_grad for p in module.target.parameters())
    result = learner.update(batch_for("p1"), timesteps={"num_env_steps_sampled_lifetime": 10})
    assert result["p1"]["num_target_updates"] == 1
    assert all(torch.equal(a, b) for a, b in zip(module.policy.parameters(), module.target.parameters(), strict=True))
    learner.remove_module("p1")
    assert learner.drivers.get_state()["rlkit-core/target_network"]["num_updates"] == {}


def test_restoring_brings_the_module_set_of_the_checkpoint(tmp_path):
    one = learner_for("p0", "p1")
    one.update(batch_for("p0", "p1"))
    one.add_module(module_id="late", module_spec=spec(5))
    one.update(batch_for("p0", "late", seed=1))
    one.remove_module("p1")
    one.save_to_path(tmp_path / "c")

    two = learner_for("p0", "p1", "other", width=16)
    with pytest.warns(UserWarning, match="'p0' was built differently"):
        two.restore_from_path(tmp_path / "c")
    three = Learner.from_checkpoint(tmp_path / "c", classes=[BCLearner, DiscreteBCTorchModule])
    four = learner_for("p0")
    four.set_state(one.get_state())
    reference = one.get_state()
    for other in (two, three, four):
        assert sorted(other.module.keys()) == ["late", "p0"]
        assert sorted(r.name for r in other.optimizers) == sorted(r.name for r in one.optimizers)
        state = other.get_state()
        assert all(same(state[key], reference[key]) for key in ("rl_module", "optimizer", "rng", "weights_seq_no"))
    for seed in (7, 8):
        for learner in (one, two, three, four):
            learner.update(
                batch_for("p0", "late", seed=seed),
                num_epochs=2,
                minibatch_size=8,
                shuffle_batch_per_epoch=True,
            )
    reference = one.get_state()
    for other in (two, three, four):
        assert same(other.get_state()["rl_module"], reference["rl_module"])


def test_component_filters():
    learner = learner_for("p0", "p1")
    part = learner.get_state("rl_module/p0")
    assert set(part) == {"weights_seq_no", "rl_module"}
    assert set(part["rl_module"]) == {"p0"}
    assert set(learner.get_state(["optimizer"])) == {"weights_seq_no", "optimizer"}
    assert "optimizer" not in learner.get_state(not_components="optimizer")
    assert set(learner.get_state(not_components="rl_module/p1")["rl_module"]) == {"p0"}
    other = learner_for("p0", "p1")
    for p in other.module.parameters():
        p.data.zero_()
    other.set_state(part)
    assert same(other.module["p0"].get_state(), learner.module["p0"].get_state())
    assert not any(p.any() for p in other.module["p1"].parameters())


def test_weights_of_some_modules():
    one, two = learner_for("p0", "p1"), learner_for("p0", "p1")
    for p in one.module.parameters():
        p.data.fill_(0.5)
    weights = one.get_weights(["p1"], inference_only=False)
    assert list(weights.state) == ["p1"]
    two.set_weights(weights)
    assert all((p == 0.5).all() for p in two.module["p1"].parameters())
    assert not all((p == 0.5).all() for p in two.module["p0"].parameters())


def test_a_group_follows_its_learner():
    group = LearnerGroup(config=config_for("p0").copy(), module_spec=config_for("p0").get_multi_rl_module_spec())
    bare = learner_for("p0")
    for target in (group, bare):
        target.add_module(module_id="p1", module_spec=spec())
    bare.set_state(group.get_state()["learner"])
    a, b = group.update(batch=batch_for("p0", "p1")), bare.update(batch_for("p0", "p1"))
    assert {mid: r["total_loss"] for mid, r in a.items() if mid != "__all_modules__"} == {
        mid: r["total_loss"] for mid, r in b.items() if mid != "__all_modules__"
    }
    assert group.config.policy_ids == ["p0", "p1"]
    assert bool(group)
    group.remove_module("p0")
    assert list(group.get_weights().state) == ["p1"]
    with pytest.raises(ValueError, match="async"):
        group.async_update()


def test_other_spaces_are_an_error_and_a_subclass_is_kept():
    saved = learner_for("p0").get_state()

    class Mine(DiscreteBCTorchModule):
        pass

    config = config_for("p0")
    config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={"p0": spec(module_class=Mine)}))
    learner = config.build_learner()
    learner.build()
    learner.set_state(saved)
    assert type(learner.module["p0"]) is Mine
    assert same(learner.module["p0"].get_state(), saved["rl_module"]["p0"])

    wide = RLModuleSpec(DiscreteBCTorchModule, gym.spaces.Box(-1, 1, (6,)), ACT, model_config={"fcnet_hiddens": [8]})
    config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={"p0": wide}))
    learner = config.build_learner()
    learner.build()
    with pytest.raises(StateError, match="'p0'"):
        learner.set_state(saved)
