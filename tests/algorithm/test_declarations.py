"""Declarations of a config's class, where they are checked: settings, spaces, agents, modules, doctor and explain."""

from __future__ import annotations

import attrs
import gymnasium as gym
import numpy as np
import pytest

from actor_critic import ACConfig
from rlkit_core import RLModuleSpec
from rlkit_core.algorithm.config.declared import default_module_problems, names_of
from rlkit_core.cli.explained import explain_run
from rlkit_core.errors import ConfigError
from rlkit_core.testing import DiscreteBCTorchModule, MultiAgentCartPole

BOX = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)


@attrs.define
class Narrow(ACConfig):
    """For one agent without memory that pushes in a Box; classes and names may be mixed."""

    action_spaces = (gym.spaces.Box, "MultiBinary")
    supports_recurrent = supports_multi_agent = False


def narrow(action_space=BOX, **settings):
    config = Narrow(**settings).rl_module(model_config={"fcnet_hiddens": [4]})
    return config.environment(observation_space=BOX, action_space=action_space)


def test_spaces_are_refused_when_they_are_known():
    assert names_of(Narrow.action_spaces) == ("Box", "MultiBinary")
    narrow().validate()
    said = r"Narrow acts in Box, MultiBinary, and this is Discrete\(2\).*use an algorithm that acts in Discrete: .*ac"
    with pytest.raises(ConfigError, match=rf"environment\(\.\.\.\): {said}"):
        narrow(gym.spaces.Discrete(2)).validate()
    Narrow().environment("CartPole-v1").validate()  # not known yet
    for build in (lambda config: config.build_algo(), explain_run):
        with pytest.raises(ConfigError, match=rf"module 'default_policy': {said}"):
            build(Narrow().environment("CartPole-v1"))


def test_a_subclass_of_a_space_is_one_and_foreign_spaces_are_the_components_business():
    class Mine(gym.spaces.Box):
        pass

    narrow(Mine(-1.0, 1.0, (2,), np.float32)).validate()
    narrow(gym.spaces.Text(3)).validate()


def test_a_module_class_of_the_users_is_the_users_business():
    config = narrow(gym.spaces.Discrete(2)).rl_module(rl_module_spec=RLModuleSpec(DiscreteBCTorchModule))
    config.validate()
    assert config.get_rl_module_spec().build() is not None


def test_recurrence_and_agents():
    recurrent = narrow().rl_module(model_config={"use_lstm": True})
    with pytest.raises(ConfigError, match=r"use_lstm.*Narrow does not train recurrent modules"):
        recurrent.validate()
    with pytest.raises(ConfigError, match=r"is recurrent, and Narrow declares supports_recurrent = False"):
        recurrent.build_learner().build()
    with pytest.raises(ConfigError, match=r"Narrow trains one module for one agent, and there is modules 'a', 'b'"):
        narrow().multi_agent(policies=["a", "b"]).validate()
    several = Narrow().environment(lambda config: MultiAgentCartPole({"num_agents": 2}))
    several.validate()  # nobody knows before the env is made
    for build in (lambda config: config.build_algo(), explain_run):
        with pytest.raises(ConfigError, match=r"Narrow trains one module for one agent, and there is an env of agents"):
            build(several)


def test_doctor_builds_the_default_module_for_what_is_declared():
    assert list(default_module_problems(ACConfig)) == []
    assert list(default_module_problems(Narrow)) == []

    class Broken(ACConfig):
        action_spaces = ("Discrete", "Box")

        def get_default_rl_module_spec(self):
            return RLModuleSpec(DiscreteBCTorchModule)

    (problem,) = default_module_problems(Broken)
    assert "Box observations and Box actions cannot be built" in problem
