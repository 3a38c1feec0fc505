"""From a config to specs: what wins, which modules there are, where spaces come from; the user's stay as they are."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
from gymnasium import spaces

from rlkit_core import ActorCriticCatalog, ActorCriticTorchRLModule, Learner
from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.errors import PluginError, SpecError
from rlkit_core.rl_module.spec import MultiRLModuleSpec, RLModuleSpec
from rlkit_core.testing import MultiAgentEnv

OBS, ACT = spaces.Box(-1, 1, (3,)), spaces.Discrete(2)
SPACES = {"__env__": (OBS, ACT)}


class DefaultModule: ...


class OwnModule: ...


class DefaultCatalog: ...


class OwnCatalog: ...


class OwnMulti: ...


class Config(AlgorithmConfig):
    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {"a": "auto", "b": "auto", "c": "auto"}

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=DefaultModule, catalog_class=DefaultCatalog)  # type: ignore[arg-type]


def spec_of(config: AlgorithmConfig, **kwargs: Any) -> RLModuleSpec:
    return config.get_rl_module_spec(spaces=SPACES, **kwargs)


def test_default_spec_alone() -> None:
    spec = spec_of(Config())
    assert (spec.module_class, spec.catalog_class) == (DefaultModule, DefaultCatalog)
    assert (spec.observation_space, spec.action_space) == (OBS, ACT)
    assert spec.model_config == {"a": "auto", "b": "auto", "c": "auto"}


def test_model_config_precedence_is_auto_then_config_then_spec() -> None:
    config = Config().rl_module(
        model_config={"b": "config", "c": "config"}, rl_module_spec=RLModuleSpec(model_config={"c": "spec"})
    )
    assert spec_of(config).model_config == {"a": "auto", "b": "config", "c": "spec"}


def test_overrides_of_one_module_reach_its_model_config() -> None:
    config = Config().multi_agent(policies=["p0", "p1"])
    config.rl_module(algorithm_config_overrides_per_module={"p1": {"model_config": {"b": "p1"}}})
    multi = config.get_multi_rl_module_spec(spaces=SPACES)
    assert multi["p0"].model_config["b"] == "auto"
    assert multi["p1"].model_config == {"a": "auto", "b": "p1", "c": "auto"}


@pytest.mark.parametrize(
    ("given", "module", "catalog"),
    [
        (RLModuleSpec(catalog_class=OwnCatalog), DefaultModule, OwnCatalog),
        (RLModuleSpec(module_class=OwnModule), OwnModule, DefaultCatalog),  # type: ignore[arg-type]
        (RLModuleSpec(module_class=OwnModule, catalog_class=OwnCatalog), OwnModule, OwnCatalog),  # type: ignore[arg-type]
    ],
)
def test_what_is_missing_comes_from_the_algorithm(given: RLModuleSpec, module: type, catalog: type) -> None:
    spec = spec_of(Config().rl_module(rl_module_spec=given))
    assert (spec.module_class, spec.catalog_class) == (module, catalog)


def test_catalogs_and_components_come_from_the_config_unless_the_spec_names_its_own() -> None:
    assert Config().rl_module(components={"head": "lab/b"}).components == {"head": "lab/b"}  # every head
    config = Config().rl_module(catalogs=["lab"], components={"encoder": "lab/a", "head:pi": "lab/b"})
    assert spec_of(config).catalogs == ("lab",)
    assert spec_of(config).components == {"encoder": "lab/a", "head:pi": "lab/b"}
    config.rl_module(rl_module_spec=RLModuleSpec(catalogs=["own"], components={"encoder": "own/c"}))
    assert spec_of(config).catalogs == ("own",)
    assert spec_of(config).components == {"encoder": "own/c", "head:pi": "lab/b"}


def test_the_users_specs_never_change() -> None:
    mine = RLModuleSpec(model_config={"x": 1})
    multi = MultiRLModuleSpec(rl_module_specs={"p0": RLModuleSpec(model_config={"x": 1})})
    before = [mine.to_dict(), multi.to_dict()]
    for given in (mine, multi):
        config = Config().rl_module(rl_module_spec=given, model_config={"y": 2})
        config.get_multi_rl_module_spec(spaces=SPACES, inference_only=True)
        assert config.rl_module_spec is not given
    assert [mine.to_dict(), multi.to_dict()] == before


@pytest.mark.parametrize(
    ("policies", "given", "ids"),
    [
        (None, None, ["default_policy"]),
        (["p0", "p1"], None, ["p0", "p1"]),
        (["p0", "p1"], RLModuleSpec(), ["p0", "p1"]),
        (["p0", "p1"], MultiRLModuleSpec(rl_module_specs=RLModuleSpec()), ["p0", "p1"]),
        (
            ["p0", "p1"],
            MultiRLModuleSpec(rl_module_specs={"encoder": RLModuleSpec()}),
            ["p0", "p1", "encoder"],
        ),
        (None, MultiRLModuleSpec(rl_module_specs={"p0": RLModuleSpec()}), ["p0"]),
        (
            None,
            MultiRLModuleSpec(rl_module_specs={"p0": RLModuleSpec(), "p1": RLModuleSpec()}),
            ["p0", "p1"],
        ),
        (None, MultiRLModuleSpec(multi_rl_module_class=OwnMulti), ["default_policy"]),  # type: ignore[arg-type]
    ],
)
def test_which_modules_there_are(policies: Any, given: Any, ids: list[str]) -> None:
    config = Config().multi_agent(policies=policies).rl_module(rl_module_spec=given)
    multi = config.get_multi_rl_module_spec(spaces=SPACES)
    assert list(multi.rl_module_specs or {}) == ids
    assert all(multi[module_id].module_class is DefaultModule for module_id in ids)
    if given is not None and "multi_rl_module_class" in given.set_by_user():
        assert multi.multi_rl_module_class is OwnMulti


def test_the_sole_module_serves_every_agent() -> None:
    config = Config().rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={"p0": RLModuleSpec()}))
    assert config.policy_mapping_fn("anyone", None) == "p0"
    assert config.get_rl_module_spec(spaces=SPACES).module_class is DefaultModule


def test_inference_only_builds_and_learner_only_modules() -> None:
    given = MultiRLModuleSpec(rl_module_specs={"p0": RLModuleSpec(), "world": RLModuleSpec(learner_only=True)})
    config = Config().multi_agent(policies=["p0"]).rl_module(rl_module_spec=given)
    acting = config.get_multi_rl_module_spec(spaces=SPACES, inference_only=True)
    assert list(acting.rl_module_specs or {}) == ["p0"]
    assert acting["p0"].inference_only
    assert acting.inference_only
    full = config.get_multi_rl_module_spec(spaces=SPACES, inference_only=False)
    assert list(full.rl_module_specs or {}) == ["p0", "world"]
    assert not full["p0"].inference_only


def test_where_spaces_come_from() -> None:
    box = spaces.Box(0, 1, (7,))
    env = gym.make("CartPole-v1")
    own = Config().rl_module(rl_module_spec=RLModuleSpec(observation_space=box))
    assert own.get_rl_module_spec(spaces=SPACES).observation_space == box
    assert own.get_rl_module_spec(spaces=SPACES).action_space == ACT
    assert Config().get_rl_module_spec(spaces={"default_policy": (box, ACT), **SPACES}).observation_space == box
    assert Config().get_rl_module_spec(env=env).observation_space == env.observation_space
    vector = gym.make_vec("CartPole-v1", num_envs=2)
    assert Config().get_rl_module_spec(env=vector).observation_space == env.observation_space
    named = Config().environment("CartPole-v1")
    assert named.get_rl_module_spec().action_space == env.action_space
    given = Config().environment(observation_space=box, action_space=ACT)
    assert given.get_rl_module_spec().observation_space == box
    with pytest.raises(SpecError, match="module 'default_policy': its observation space is unknown"):
        Config().get_rl_module_spec()


class TwoAgents(MultiAgentEnv):
    possible_agents = ("a", "b")
    action_spaces = {"a": ACT, "b": ACT}

    def __init__(self, other: Any = OBS) -> None:
        self.observation_spaces = {"a": OBS, "b": other}


def test_agents_spaces_go_through_the_mapping() -> None:
    other = spaces.Box(0, 1, (9,))
    config = Config().multi_agent(
        policies=["p0", "p1"], policy_mapping_fn=lambda agent, episode: f"p{'ab'.index(agent)}"
    )
    multi = config.get_multi_rl_module_spec(env=TwoAgents(other))
    assert (multi["p0"].observation_space, multi["p1"].observation_space) == (OBS, other)
    shared = Config().multi_agent(policies=["p0"])
    assert shared.get_multi_rl_module_spec(env=TwoAgents())["p0"].observation_space == OBS
    with pytest.raises(SpecError, match="agents 'a' and 'b' share module 'p0' but have different spaces"):
        shared.get_multi_rl_module_spec(env=TwoAgents(other))


def test_an_algorithm_without_a_module_says_so() -> None:
    with pytest.raises(NotImplementedError, match="AlgorithmConfig has no module"):
        AlgorithmConfig().get_rl_module_spec(spaces=SPACES)
    given = RLModuleSpec(module_class=OwnModule)  # type: ignore[arg-type]
    config = AlgorithmConfig().rl_module(rl_module_spec=given)
    assert config.get_rl_module_spec(spaces=SPACES).module_class is OwnModule
    with pytest.raises(NotImplementedError, match="has no learner"):
        _ = config.learner_class


class NamesItsParts(AlgorithmConfig):
    default_learner_class = "rlkit_core:Learner"
    default_module_class = "rlkit_core:ActorCriticTorchRLModule"
    default_catalog_class = ActorCriticCatalog


def test_an_algorithm_names_its_learner_and_module_by_text_or_class() -> None:
    config = NamesItsParts()
    assert config.learner_class is Learner
    spec = config.get_default_rl_module_spec()
    assert (spec.module_class, spec.catalog_class) == (ActorCriticTorchRLModule, ActorCriticCatalog)


@pytest.mark.parametrize("wrong", ["no_such_package.there:Thing", "rlkit_core:NoSuchThing"])
def test_a_name_of_nothing_is_said_with_the_attribute(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NamesItsParts, "default_learner_class", wrong)
    with pytest.raises((PluginError, ImportError), match=r"no_such_package|default_learner_class.*NoSuchThing"):
        _ = NamesItsParts().learner_class
