"""``multi_agent(...)``: which modules there are, what each is built from, and which agent uses which."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlkit_core import MultiRLModuleSpec, PolicySpec, RLModuleSpec
from rlkit_core.algorithm.config.module_spaces import ModuleSpaces
from rlkit_core.errors import ConfigError, SpecError
from rlkit_core.rl_module.agent_mapping import AgentEpisode, DefaultMapping, ask
from rlkit_core.testing import BCConfigTest, DiscreteBCTorchModule, MultiAgentCartPole, MultiAgentEnv

OBS, WIDE = gym.spaces.Box(-1.0, 1.0, (4,), np.float32), gym.spaces.Box(-1.0, 1.0, (7,), np.float32)
ACT = gym.spaces.Discrete(2)
START = AgentEpisode("", 0)


class Agents(MultiAgentEnv):
    """Spaces of agents: all that matters of an env before it is stepped."""

    def __init__(self, **spaces: Any) -> None:
        self.possible_agents = tuple(spaces)
        self.observation_spaces = spaces
        self.action_spaces = dict.fromkeys(spaces, ACT)


def test_policies_say_ids_specs_and_settings() -> None:
    policies = {
        "spec": RLModuleSpec(model_config={"fcnet_hiddens": [5]}),
        "policy": PolicySpec(None, WIDE, ACT, {"lr": 0.5, "gamma": 0.9}),
        "older": (DiscreteBCTorchModule, OBS, ACT, {}),
        "plain": None,
    }
    config = BCConfigTest().multi_agent(policies=policies)
    config.rl_module(algorithm_config_overrides_per_module={"policy": {"lr": 0.25}, "plain": {"lr": 0.125}})
    assert config.policy_ids == list(policies)
    multi = config.get_multi_rl_module_spec(spaces=(OBS, ACT))
    assert multi["spec"].model_config["fcnet_hiddens"] == [5]
    assert multi["plain"].model_config["fcnet_hiddens"] == [32]
    assert multi["policy"].observation_space == WIDE
    assert multi["older"].module_class is DiscreteBCTorchModule
    own = {module_id: config.get_config_for_module(module_id) for module_id in policies}
    assert (own["policy"].lr, own["policy"].gamma) == (0.25, 0.9)  # what is set for a module by name comes first
    assert own["plain"].lr == 0.125
    assert own["spec"] is config
    module = multi.build()
    assert module["policy"].policy[0].in_features == 7
    assert module["spec"].policy[0].out_features == 5


def test_a_spec_by_id_is_above_what_policies_say_and_one_spec_for_all_is_below() -> None:
    policies = {"p0": RLModuleSpec(observation_space=WIDE, model_config={"a": 1, "b": 1}), "p1": None}
    above = MultiRLModuleSpec(rl_module_specs={"p0": RLModuleSpec(model_config={"b": 2, "c": 2})})
    below = RLModuleSpec(model_config={"b": 2, "c": 2})
    found = {}
    for name, given in (("above", above), ("below", below)):
        config = BCConfigTest().multi_agent(policies=policies).rl_module(rl_module_spec=given)
        found[name] = config.get_multi_rl_module_spec(spaces=(OBS, ACT))
    assert {key: found["above"]["p0"].model_config[key] for key in "abc"} == {"a": 1, "b": 2, "c": 2}
    assert {key: found["below"]["p0"].model_config[key] for key in "abc"} == {"a": 1, "b": 1, "c": 2}
    assert found["below"]["p1"].model_config["b"] == 2
    assert all(multi["p0"].observation_space == WIDE for multi in found.values())
    assert policies["p0"] == RLModuleSpec(observation_space=WIDE, model_config={"a": 1, "b": 1})


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ({"p0": 3}, "module 'p0' has int, expected an RLModuleSpec, a PolicySpec or None"),
        ({"p0": MultiRLModuleSpec()}, "module 'p0' has MultiRLModuleSpec"),
        ({"p0": PolicySpec(config={"gama": 0.9})}, "module 'p0'.*no setting 'gama'.*Did you mean 'gamma'"),
        ({"p0": PolicySpec(config={"gamma": 9})}, "module 'p0'.*gamma"),
        ({"a/b": None}, "no module id"),
        ("p0", "expected module ids"),
    ],
)
def test_policies_that_are_refused(policies: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BCConfigTest().multi_agent(policies=policies)


def test_a_policy_class_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"policy_class='int'.*an RLModule class"):
        PolicySpec(int)


def test_policies_survive_json() -> None:
    policies = {"p0": PolicySpec(None, WIDE, None, {"lr": 0.5}), "p1": RLModuleSpec(model_config={"a": 1}), "p2": None}
    config = BCConfigTest().multi_agent(policies=policies)
    again = BCConfigTest.from_json(config.to_json())
    assert again.policies == policies
    assert again.get_config_for_module("p0").lr == 0.5


def test_ids_that_nobody_has_are_found_by_validate() -> None:
    config = BCConfigTest().training(expert=lambda obs: obs)
    config.multi_agent(policies=["walker", "runner"], policies_to_train=["walkr"])
    config.rl_module(algorithm_config_overrides_per_module={"runer": {"lr": 0.5}})
    with pytest.raises(ConfigError) as error:
        config.validate()
    assert "policies_to_train names module 'walkr'; there are runner, walker. Did you mean 'walker'?" in str(
        error.value
    )
    assert "Did you mean 'runner'?" in str(error.value)


# -- mapping ----------------------------------------------------------------------------------------------------------


def test_the_mapping_where_none_is_written() -> None:
    assert DefaultMapping(("p0",))("anyone") == "p0"
    assert DefaultMapping(("a", "b"))("b") == "b"
    assert DefaultMapping(("0", "1"))(1, START) == "1"
    assert DefaultMapping(("a", "default_policy"))("c") == "default_policy"
    with pytest.raises(ConfigError, match=r"agents 'c' have no module: there are 'a', 'b'.*policy_mapping_fn=lambda"):
        DefaultMapping(("a", "b"))("c")


def test_a_module_for_learners_only_is_nobodys() -> None:
    specs = {"p0": RLModuleSpec(), "world": RLModuleSpec(learner_only=True)}
    config = BCConfigTest().rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
    assert config.policy_mapping_fn("anyone") == "p0"
    assert config.acting_ids == ["p0"]


def test_agents_without_a_module_get_the_line_to_write() -> None:
    config = BCConfigTest().multi_agent(policies=["p0", "p1"])
    with pytest.raises(ConfigError) as error:
        config.get_multi_rl_module_spec(env=Agents(a=OBS, b=OBS, c=OBS))
    line = str(error.value).partition("Write, say, multi_agent(policy_mapping_fn=")[2]
    assert line == "lambda agent_id, episode: {'a': 'p0', 'b': 'p1', 'c': 'p0'}[agent_id])"


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            lambda agent_id, episode: f"p{episode.agents[0]}",
            r"raised IndexError.*with an episode of no id and no agents",
        ),
        (lambda agent_id, episode: "p7", "agents are mapped to module 'p7', but those that can act are p0, p1"),
        (lambda agent_id, episode: None, "agents are mapped to None"),
        (lambda agent_id: "p0", "raised TypeError"),
    ],
)
def test_mappings_that_fail(mapping: Any, message: str) -> None:
    config = BCConfigTest().multi_agent(policies=["p0", "p1"], policy_mapping_fn=mapping)
    with pytest.raises(ConfigError, match=message):
        config.get_multi_rl_module_spec(env=Agents(a=OBS))


def test_a_mapping_is_asked_with_a_stand_in_for_the_episode() -> None:
    seen = []

    def mapping(agent_id: str, episode: AgentEpisode) -> str:
        seen.append((agent_id, episode.id_, episode.env_index, episode.agents))
        return "p0"

    BCConfigTest().multi_agent(policies=["p0"], policy_mapping_fn=mapping).get_multi_rl_module_spec(env=Agents(a=OBS))
    assert seen == [("a", "", 0, [])]
    assert ask(mapping, "b", AgentEpisode("e7", 3, ["b"]), ["p0"]) == "p0"
    assert seen[-1] == ("b", "e7", 3, ["b"])


# -- spaces -----------------------------------------------------------------------------------------------------------


def test_modules_that_nobody_uses_take_what_all_agents_have() -> None:
    config = BCConfigTest().multi_agent(policies=["p0", "spare"], policy_mapping_fn=lambda agent_id, episode: "p0")
    same = config.get_multi_rl_module_spec(env=Agents(a=OBS, b=OBS))
    assert same["spare"].observation_space == OBS
    config.multi_agent(
        policies=["p0", "p1", "spare"], policy_mapping_fn=lambda agent_id, episode: {"a": "p0"}.get(agent_id, "p1")
    )
    with pytest.raises(SpecError, match=r"module 'spare': its observation space is unknown.*'p0', 'p1', and differ"):
        config.get_multi_rl_module_spec(env=Agents(a=OBS, b=WIDE))
    config.multi_agent(policies={"p0": None, "p1": None, "spare": PolicySpec(None, OBS, ACT)})
    multi = config.get_multi_rl_module_spec(env=Agents(a=OBS, b=WIDE))
    assert [multi[mid].observation_space for mid in ("p0", "p1", "spare")] == [OBS, WIDE, OBS]


def test_spaces_of_the_config_are_those_of_all_agents() -> None:
    config = BCConfigTest().multi_agent(policies=["p0"]).environment(observation_space=WIDE)
    multi = config.get_multi_rl_module_spec(env=Agents(a=OBS, b=WIDE))
    assert (multi["p0"].observation_space, multi["p0"].action_space) == (WIDE, ACT)


def test_given_spaces_come_before_the_agents() -> None:
    config = BCConfigTest().multi_agent(policies=["p0"])
    found = ModuleSpaces(config, Agents(a=OBS), {"p0": (WIDE, ACT)})
    assert found.of("p0", MultiRLModuleSpec()) == (WIDE, ACT)


def two_cart_poles() -> BCConfigTest:
    return BCConfigTest().environment(MultiAgentCartPole, env_config={"num_agents": 2})


def test_specs_of_an_env_that_has_to_be_made() -> None:
    """The reference document's example with two agents and one module; its env is made, and closed again."""
    config = two_cart_poles().rl_module(
        model_config={"fcnet_hiddens": [32, 32]},
        rl_module_spec=MultiRLModuleSpec(rl_module_specs={"p0": RLModuleSpec(module_class=DiscreteBCTorchModule)}),
    )
    assert config.is_multi_agent
    multi = config.get_multi_rl_module_spec()
    assert list(multi.specs_by_id()) == ["p0"]
    assert multi["p0"].observation_space.shape == (4,)
    assert multi["p0"].model_config["fcnet_hiddens"] == [32, 32]
    assert multi.build()["p0"].policy[0].out_features == 32


def test_which_configs_are_multi_agent() -> None:
    assert two_cart_poles().is_multi_agent
    assert BCConfigTest().multi_agent(policies=["p0"]).is_multi_agent
    assert not BCConfigTest().environment("CartPole-v1").is_multi_agent


def test_agents_are_mapped_before_a_runner_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlkit_core.algorithm import algorithm

    monkeypatch.setattr(algorithm, "EnvRunnerGroup", None)
    config = two_cart_poles().training(expert=lambda obs: obs).multi_agent(policies=["left", "right"])
    with pytest.raises(ConfigError, match=r"agents 0, 1 have no module.*\{0: 'left', 1: 'right'\}\[agent_id\]"):
        config.build_algo()
