"""ModuleSet: which modules there are, as one value."""

from __future__ import annotations

import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from rlkit_core import MultiRLModuleSpec, RLModuleSpec
from rlkit_core.errors import CheckpointError, SpecError
from rlkit_core.rl_module.module_set import ModuleSet, alike
from rlkit_core.testing import BCConfigTest, DiscreteBCTorchModule

OBS = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
ACT = gym.spaces.Discrete(2)
SPACES = (OBS, ACT)


def spec(width: int = 8, **kwargs) -> RLModuleSpec:
    return RLModuleSpec(DiscreteBCTorchModule, OBS, ACT, model_config={"fcnet_hiddens": [width]}, **kwargs)


def set_of(*ids: str, **specs: RLModuleSpec) -> ModuleSet:
    given = MultiRLModuleSpec(rl_module_specs={**{mid: spec() for mid in ids}, **specs})
    config = BCConfigTest().multi_agent(policies=[*ids, *specs]).rl_module(rl_module_spec=given)
    config.freeze()
    return ModuleSet.from_config(config)


def test_a_config_says_which_modules_there_are() -> None:
    config = BCConfigTest().multi_agent(policies=["p1", "p0"])
    modules = ModuleSet.from_config(config, SPACES)
    assert list(modules) == ["p1", "p0"]
    assert modules.spaces == {"p1": (OBS, ACT), "p0": (OBS, ACT)}
    assert all(each.module_class is DiscreteBCTorchModule for each in modules.specs.values())
    with pytest.raises(SpecError, match="unknown"):
        ModuleSet.from_config(config)


def test_with_module_fills_what_the_spec_lacks_and_leaves_this_set_alone() -> None:
    before = ModuleSet.from_config(BCConfigTest(), SPACES)
    after = before.with_module(
        "new",
        RLModuleSpec(observation_space=OBS, action_space=ACT),
        overrides={"lr": 0.5},
        to_train=["new"],
        mapping_fn=lambda agent_id, episode: "new",
    )
    assert (list(before), list(after)) == (["default_policy"], ["default_policy", "new"])
    assert after.specs["new"].module_class is DiscreteBCTorchModule
    assert after.specs["new"].model_config["fcnet_hiddens"] == [32]
    assert after.specs["default_policy"] == before.specs["default_policy"]
    assert after.config.is_frozen
    assert after.config.policy_ids == ["default_policy", "new"]
    assert after.config.get_config_for_module("new").lr == 0.5
    assert (after.is_trained("default_policy"), after.is_trained("new")) == (False, True)
    assert after.module_of("somebody") == "new"
    assert before.config.policy_ids == ["default_policy"]
    assert (before.is_trained("default_policy"), before.module_of()) == (True, "default_policy")
    again = ModuleSet.from_config(after.config)  # the config alone knows it all
    assert again.specs == after.specs
    assert after.spec.rl_module_specs == after.specs


def test_what_a_multi_spec_says_of_the_whole_stays() -> None:
    given = MultiRLModuleSpec(rl_module_specs={"p0": spec()}, model_config={"shared": 3})
    modules = ModuleSet.from_config(BCConfigTest().rl_module(rl_module_spec=given))
    assert modules.with_module("p1", spec(4)).spec.model_config == {"shared": 3}


def test_ids_that_are_refused() -> None:
    modules = set_of("p0")
    with pytest.raises(ValueError, match="already"):
        modules.with_module("p0", spec())
    with pytest.raises(ValueError, match="module id"):
        modules.with_module("a/b", spec())
    with pytest.raises(KeyError, match="no module 'p1'; there are 'p0'"):
        modules.without("p1")
    lost = modules.with_settings(mapping_fn=lambda agent_id, episode: "p1")
    with pytest.raises(ValueError, match="agents are mapped to module 'p1', but those that can act are p0"):
        lost.module_of()
    with pytest.raises(ValueError, match="'p1'"):
        lost.with_module("p1", spec(learner_only=True)).module_of()


def test_without_forgets_settings_of_the_module() -> None:
    modules = set_of("p0").with_module("p1", spec(), overrides={"lr": 0.5}, to_train=["p0", "p1"])
    left = modules.without("p1")
    assert list(left) == left.config.policy_ids == ["p0"]
    assert left.config.policies_to_train == ["p0"]
    assert left.config.algorithm_config_overrides_per_module == {}
    assert modules.without("p1", to_train=lambda mid, batch: batch is None).is_trained("p0")
    assert list(left.without("p0")) == []


def test_which_are_trained_may_depend_on_the_batch() -> None:
    modules = set_of("p0").with_settings(to_train=lambda mid, batch: batch == 3)
    assert (modules.is_trained("p0"), modules.is_trained("p0", 3)) == (False, True)
    assert modules.with_module("p1", spec()).is_trained("p1", 3)


def test_bringing_modules_to_a_set() -> None:
    modules = set_of("p0", "p1", critic=spec(learner_only=True))
    multi = modules.spec.build()
    kept, weights = multi["p0"], multi["p0"].get_state()
    assert modules.bring(multi).new == {}
    other = modules.without("p1").with_module("p2", spec(4)).without("critic").with_module("critic", spec(2))
    difference = other.bring(multi)
    assert set(difference.gone) == {"p1", "critic"}  # the critic was built anew
    assert list(difference.new) == ["p2", "critic"]
    assert list(multi.keys()) == ["p0", "p2", "critic"]
    assert multi["p0"] is kept
    assert all(np.array_equal(value, weights[name]) for name, value in kept.get_state().items())
    assert other.bring(multi).new == {}

    acting = modules.config.get_multi_rl_module_spec(inference_only=True).build()
    assert list(acting.keys()) == ["p0", "p1"]
    modules.with_module("p2", spec(4)).bring(acting, inference_only=True)
    assert list(acting.keys()) == ["p0", "p1", "p2"]  # the critic lives on learners only
    assert acting["p2"].inference_only
    assert acting.inference_only


def test_a_module_that_cannot_be_built_changes_nothing() -> None:
    class Broken(DiscreteBCTorchModule):
        def setup(self):
            raise RuntimeError("no network today")

    modules = set_of("p0", "p1")
    multi = modules.spec.build()
    other = modules.without("p0").with_module("p2", RLModuleSpec(Broken, OBS, ACT))
    with pytest.raises(RuntimeError, match="today"):
        other.bring(multi)
    assert list(multi.keys()) == ["p0", "p1"]


def test_weights_to_load_are_loaded_once(tmp_path) -> None:
    first = spec().build()
    for parameter in first.parameters():
        parameter.data.fill_(0.5)
    path = first.save_to_path(tmp_path / "m")
    modules = set_of("p0").with_module("p1", spec(load_state_path=path))
    multi = set_of("p0").spec.build()
    modules.bring(multi)
    assert all((parameter == 0.5).all() for parameter in multi["p1"].parameters())
    assert modules.difference(multi).new == {}
    assert multi.current_specs()["p1"].load_state_path is None


def test_following_another_set() -> None:
    mine, theirs = set_of("p0", "p1", "rule"), set_of("p0", "p1")
    assert theirs.following(set_of("p0", "p1"), used=["p0"]) is theirs
    acting = mine.with_settings(mapping_fn=lambda agent_id, episode: "rule")
    theirs = theirs.without("p1").with_module("p2", spec(4), overrides={"lr": 0.5}, to_train=["p2"])
    theirs = theirs.without("p0").with_module("p0", spec(16))
    result = acting.following(theirs, used=["rule"])
    assert list(result) == ["p0", "rule", "p2"]  # agents are mapped to the rule
    assert alike(result.specs["p0"], theirs.specs["p0"])
    assert result.config.get_config_for_module("p2").lr == 0.5
    assert result.config.policies_to_train == ["p2"]
    assert result.module_of() == "rule"


def test_a_set_as_data() -> None:
    modules = set_of("p0", "p1").with_module("late", spec(5), overrides={"lr": 0.5}, to_train=["p0"]).without("p1")
    data = modules.to_data()
    other = set_of("p0", "other")
    result = other.as_saved(data, other.spec.build())
    assert list(result) == ["p0", "late"]
    assert alike(result.specs["late"], modules.specs["late"])
    assert result.config.get_config_for_module("late").lr == 0.5
    assert result.config.policies_to_train == ["p0"]
    assert modules.as_saved(data, modules.spec.build()) is modules


def test_saved_modules_with_other_layers_are_taken_with_a_warning() -> None:
    data = set_of(p0=spec(8)).to_data()
    wider = set_of(p0=spec(16))
    random = torch.random.get_rng_state()
    with pytest.warns(UserWarning, match="'p0' was built differently"):
        result = wider.as_saved(data, wider.spec.build())
    assert result.specs["p0"].model_config["fcnet_hiddens"] == [8]
    noted = set_of(p0=RLModuleSpec(DiscreteBCTorchModule, OBS, ACT, model_config={"fcnet_hiddens": [8], "note": 1}))
    members = noted.spec.build()
    torch.random.set_rng_state(random)
    assert noted.as_saved(data, members) is noted  # its settings differ, its parameters do not
    assert torch.equal(torch.random.get_rng_state(), random)
    elsewhere = set_of(p0=RLModuleSpec(DiscreteBCTorchModule, OBS, gym.spaces.Discrete(3), model_config={}))
    assert elsewhere.as_saved(data, elsewhere.spec.build()) is elsewhere


def test_what_json_cannot_hold() -> None:
    live = RLModuleSpec(DiscreteBCTorchModule, OBS, ACT, model_config={"fcnet_hiddens": [8], "net": nn.Linear(1, 1)})
    modules = set_of("p0", live=live).with_settings(to_train=lambda mid, batch: True)
    data = modules.to_data()
    assert data["modules"]["live"] == {"spec": None, "overrides": None}
    assert data["should_module_be_updated"] is None
    assert modules.as_saved(data, modules.spec.build()) is modules  # its own function and network stay
    with pytest.raises(CheckpointError, match=r"'live'.*learner\.add_module"):
        set_of("p0").as_saved(data, set_of("p0").spec.build())


def test_a_set_can_be_sent() -> None:
    sent = pickle.loads(pickle.dumps(set_of("p0").with_module("p1", spec(4))))
    assert list(sent) == sent.config.policy_ids == ["p0", "p1"]
    assert sent.bring(sent.spec.build()).new == {}
