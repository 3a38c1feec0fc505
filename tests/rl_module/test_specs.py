"""RLModuleSpec and MultiRLModuleSpec: building, merging by set fields, JSON."""

from __future__ import annotations

import json

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit_core import (
    ActorCriticCatalog,
    ActorCriticTorchRLModule,
    DefaultModelConfig,
    MultiRLModule,
    MultiRLModuleConfig,
    MultiRLModuleSpec,
    RLModuleConfig,
    RLModuleSpec,
)
from rlkit_core.checkpoint import from_jsonable, to_jsonable
from rlkit_core.errors import SpecError, UnknownSettingError
from rlkit_core.testing import BCTorchMultiAgentModuleWithSharedEncoder, DiscreteBCTorchModule

OBS = gym.spaces.Box(-1.0, 1.0, (4,))
ACT = gym.spaces.Discrete(2)
FULL = RLModuleSpec(DiscreteBCTorchModule, OBS, ACT, model_config={"fcnet_hiddens": [8]})

values = {
    "module_class": st.sampled_from([DiscreteBCTorchModule, ActorCriticTorchRLModule]),
    "observation_space": st.sampled_from([OBS, gym.spaces.Discrete(3)]),
    "action_space": st.sampled_from([ACT, gym.spaces.Discrete(5)]),
    "inference_only": st.booleans(),
    "learner_only": st.booleans(),
    "model_config": st.dictionaries(st.sampled_from("abc"), st.integers() | st.none() | st.lists(st.integers())),
    "catalog_class": st.just(ActorCriticCatalog),
    "components": st.just({"encoder": "rlkit-core/mlp"}),
}
spec_fields = st.fixed_dictionaries({}, optional=values)


@given(spec_fields, spec_fields, st.booleans())
def test_merging_goes_by_set_fields(mine, theirs, override) -> None:
    spec, other = RLModuleSpec(**mine), RLModuleSpec(**theirs)
    spec.update(other, override=override)
    assert spec.set_fields() == (mine | theirs if override else theirs | mine)
    assert other.set_fields() == theirs


@given(spec_fields)
def test_dict_round_trip_keeps_values_and_what_was_set(fields) -> None:
    spec = RLModuleSpec(**fields)
    data = json.loads(json.dumps(spec.to_dict()))
    assert set(data) == set(RLModuleSpec.known_settings())
    again = RLModuleSpec.from_dict(data)
    assert again.set_fields() == fields
    assert again == spec
    assert from_jsonable(to_jsonable(spec)).set_fields() == fields


def test_false_and_empty_win_over_true_and_full() -> None:
    spec = RLModuleSpec(inference_only=True, learner_only=True, model_config={"a": 1})
    spec.update(RLModuleSpec(inference_only=False, model_config={}))
    assert (spec.inference_only, spec.learner_only, spec.model_config) == (False, True, {})


def test_update_does_not_alias_and_refuses_others() -> None:
    other = RLModuleSpec(model_config={"a": 1})
    spec = RLModuleSpec()
    spec.update(other)
    spec.model_config["a"] = 2
    assert other.model_config == {"a": 1}
    with pytest.raises(SpecError, match="MultiRLModuleSpec"):
        spec.update(MultiRLModuleSpec())


def test_unknown_fields_and_wrong_values() -> None:
    with pytest.raises(UnknownSettingError, match=r"'model_confg'.*'model_config'"):
        FULL.copy().model_confg = {}
    with pytest.raises(SpecError, match=r"module_class.*expected a class"):
        RLModuleSpec(
            module_class=DiscreteBCTorchModule(
                observation_space=OBS, action_space=ACT, model_config={"fcnet_hiddens": [1]}
            )
        )
    assert RLModuleSpec(model_config_dict={"a": 1}).model_config == {"a": 1}


def test_build_names_what_is_missing() -> None:
    with pytest.raises(SpecError, match="module_class is not set"):
        RLModuleSpec(observation_space=OBS).build()
    with pytest.raises(SpecError, match="DiscreteBCTorchModule: observation_space is not set"):
        RLModuleSpec(DiscreteBCTorchModule).build()
    both = FULL.copy()
    both.inference_only = both.learner_only = True
    with pytest.raises(SpecError, match="both True"):
        both.build()


def test_learner_only_reaches_the_module() -> None:
    spec = FULL.copy()
    spec.learner_only = True
    assert spec.build().learner_only


def test_from_module_gives_the_spec_back() -> None:
    spec = RLModuleSpec(ActorCriticTorchRLModule, OBS, ACT, model_config=DefaultModelConfig(fcnet_hiddens=[8]))
    assert RLModuleSpec.from_module(spec.build()) == spec
    multi = MultiRLModuleSpec(rl_module_specs={"a": FULL, "b": spec})
    module = multi.build()
    assert MultiRLModuleSpec.from_module(module) == multi
    assert RLModuleSpec.from_module(module["a"]) == FULL
    with pytest.raises(SpecError, match=r"MultiRLModuleSpec\.from_module"):
        RLModuleSpec.from_module(module)
    with pytest.raises(SpecError, match="as_multi_rl_module"):
        MultiRLModuleSpec.from_module(module["a"])


def test_config_objects_round_trip() -> None:
    config = FULL.get_rl_module_config()
    assert RLModuleSpec(DiscreteBCTorchModule, **config.set_fields()) == FULL
    assert RLModuleConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    older = {**FULL.to_dict(), "module_class": None}
    assert RLModuleConfig.from_dict(json.loads(json.dumps(older))) == config
    assert config.get_catalog() is None
    with_catalog = RLModuleConfig(OBS, ACT, {}, ActorCriticCatalog)
    assert type(with_catalog.get_catalog()) is ActorCriticCatalog
    multi = MultiRLModuleConfig({"a": FULL})
    assert MultiRLModuleConfig.from_dict(json.loads(json.dumps(multi.to_dict()))) == multi
    assert list(MultiRLModule(multi).keys()) == ["a"]


def test_older_dict_layout_is_read() -> None:
    data = {
        "module_class": FULL.to_dict()["module_class"],
        "module_config": FULL.get_rl_module_config().to_dict(),
    }
    assert RLModuleSpec.from_dict(data) == FULL


def test_multi_spec_builds_everything_or_one() -> None:
    spec = MultiRLModuleSpec(rl_module_specs={"a": FULL, "b": FULL})
    assert MultiRLModuleSpec.multi_rl_module_class is MultiRLModule
    assert list(spec.build().keys()) == ["a", "b"]
    assert type(spec.build("a")) is DiscreteBCTorchModule
    assert "a" in spec
    assert spec["a"] == FULL
    assert spec.as_multi_rl_module_spec() is spec
    with pytest.raises(KeyError, match=r"no module 'c'.*a, b"):
        spec.build("c")
    incomplete = MultiRLModuleSpec(rl_module_specs={"a": RLModuleSpec(DiscreteBCTorchModule)})
    with pytest.raises(SpecError, match=r"module 'a'.*observation_space"):
        incomplete.build()


def test_one_spec_for_all_ids() -> None:
    spec = MultiRLModuleSpec(rl_module_specs=FULL)
    with pytest.raises(SpecError, match="one spec for all module ids"):
        spec.build()
    expanded = spec.expand(["p0", "p1"])
    assert list(expanded.build().keys()) == ["p0", "p1"]
    assert expanded["p0"] is not expanded["p1"]
    again = MultiRLModuleSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec


def test_multi_spec_merging() -> None:
    narrow = FULL.copy()
    narrow.model_config = {"fcnet_hiddens": [4]}
    spec = MultiRLModuleSpec(rl_module_specs={"a": RLModuleSpec(DiscreteBCTorchModule, model_config={"x": 1})})
    spec.add_modules({"a": FULL, "b": narrow}, override=False)
    assert spec["a"].model_config == {"x": 1}
    assert spec["a"].observation_space == OBS
    assert spec["b"] == narrow
    spec.add_modules({"a": FULL})
    assert spec["a"] == FULL
    spec.update(MultiRLModuleSpec(rl_module_specs={"a": narrow, "c": FULL}, inference_only=True), override=True)
    assert spec["a"] == narrow
    assert set(spec.rl_module_specs) == {"a", "b", "c"}
    spec.remove_modules(["a", "unknown"])
    assert set(spec.rl_module_specs) == {"b", "c"}
    fill = MultiRLModuleSpec(rl_module_specs={"z": RLModuleSpec()})
    fill.update(FULL)
    assert fill["z"] == FULL


def test_specs_are_copied_one_level_deep() -> None:
    shared = object()
    given_spec = FULL.copy()
    given_spec.model_config = {"fcnet_hiddens": [8], "encoder": shared}
    multi = MultiRLModule(rl_module_specs={"a": given_spec})
    assert multi.rl_module_specs["a"] is not given_spec
    multi.rl_module_specs["a"].model_config["new"] = 1
    assert "new" not in given_spec.model_config
    assert multi["a"].model_config["encoder"] is shared


def test_bad_multi_specs() -> None:
    with pytest.raises(SpecError, match="'a' has dict, expected RLModuleSpec"):
        MultiRLModuleSpec(rl_module_specs={"a": {}})
    with pytest.raises(SpecError, match="got list"):
        MultiRLModuleSpec(rl_module_specs=[FULL])
    with pytest.raises(SpecError, match="got list"):
        MultiRLModule(rl_module_specs=[FULL])


def test_custom_multi_class_survives_the_dict_round_trip() -> None:
    spec = MultiRLModuleSpec(multi_rl_module_class=BCTorchMultiAgentModuleWithSharedEncoder, model_config={"w": 3})
    assert MultiRLModuleSpec.from_dict(spec.to_dict()) == spec


def test_load_state_path(tmp_path) -> None:
    source = MultiRLModuleSpec(rl_module_specs={"a": FULL, "b": FULL}).build()
    source.save_to_path(tmp_path / "multi")
    source["a"].save_to_path(tmp_path / "one")
    spec = FULL.copy()
    spec.load_state_path = str(tmp_path / "one")
    assert _same(spec.build().get_state(), source["a"].get_state())
    whole = MultiRLModuleSpec(rl_module_specs={"a": FULL, "b": FULL}, load_state_path=str(tmp_path / "multi"))
    assert _same(whole.build()["b"].get_state(), source["b"].get_state())
    part = MultiRLModuleSpec(
        rl_module_specs={"a": FULL, "b": FULL}, load_state_path=str(tmp_path / "multi"), modules_to_load=["b"]
    ).build()
    assert _same(part["b"].get_state(), source["b"].get_state())
    assert not _same(part["a"].get_state(), source["a"].get_state())


def _same(a, b) -> bool:
    return a.keys() == b.keys() and all((a[key] == b[key]).all() for key in a)


def test_a_spec_that_was_sent_to_a_process_where_none_was_made_can_be_changed() -> None:
    class Unmade(RLModuleSpec):
        pass

    sent = object.__new__(Unmade)
    sent.__setstate__(FULL.copy().__getstate__())
    sent.model_config = None
    assert sent.model_config is None


def test_a_multi_rl_module_that_takes_too_little() -> None:
    class Older(MultiRLModule):
        def __init__(self, config):
            super().__init__(config)

    class Narrow(MultiRLModule):
        def __init__(self, *, rl_module_specs=None, inference_only=None):
            super().__init__(rl_module_specs=rl_module_specs, inference_only=inference_only)

    def spec_of(multi_class: type, **settings: object) -> MultiRLModuleSpec:
        return MultiRLModuleSpec(multi_rl_module_class=multi_class, rl_module_specs={"p0": FULL}, **settings)

    for multi_class in (Older, Narrow):
        assert list(spec_of(multi_class).build()) == ["p0"]
        with pytest.raises(SpecError, match=r"model_config"):
            spec_of(multi_class, model_config={"width": 3}).build()
