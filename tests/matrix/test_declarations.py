"""What installed algorithms declare: that builds, and the rest is refused."""

from __future__ import annotations

import pytest

from rlkit_core import get_algorithm_config
from rlkit_core.algorithm.config.declared import BUILT_IN_SPACES, default_module_problems, names_of, sample_space
from rlkit_core.errors import ConfigError
from rlkit_core.plugins.discovery import GROUP_ALGORITHMS, scan

INSTALLED = sorted(
    entry.name for info in scan().distributions for entry in info.entry_points if entry.group == GROUP_ALGORITHMS
)


def small(algorithm, observation="Box", action=None, **model_config):
    config = get_algorithm_config(algorithm).rl_module(model_config={"fcnet_hiddens": [4], **model_config})
    action = action or names_of(config.action_spaces)[0]
    return config.environment(observation_space=sample_space(observation), action_space=sample_space(action))


def built(config):
    learner = config.build_learner()
    learner.build()
    return learner


def test_there_are_algorithms():
    assert {"appo", "dqn", "impala", "ppo"} <= set(INSTALLED)


@pytest.mark.parametrize("algorithm", INSTALLED)
def test_declared_spaces_build_and_others_are_refused(algorithm):
    config = get_algorithm_config(algorithm)
    assert list(default_module_problems(type(config))) == []
    for kind in BUILT_IN_SPACES:
        for attribute, spaces in (("observation_spaces", (kind, None)), ("action_spaces", ("Box", kind))):
            one = small(algorithm, *spaces)
            if kind in names_of(getattr(config, attribute)):
                assert built(one).module is not None
                continue
            said = rf"{type(config).__name__} (acts in|observes) .*this is .*use an algorithm that .* {kind}: .*ppo"
            with pytest.raises(ConfigError, match=said):
                one.validate()
            with pytest.raises(ConfigError, match=said):
                one.get_multi_rl_module_spec()
            known = one.observation_space, one.action_space
            with pytest.raises(ConfigError, match=said):  # as runners tell them, or an env
                get_algorithm_config(algorithm).get_multi_rl_module_spec(spaces=known)


@pytest.mark.parametrize("algorithm", INSTALLED)
def test_recurrent_modules_are_trained_or_refused(algorithm):
    config = small(algorithm, use_lstm=True, max_seq_len=4)
    if type(config).supports_recurrent is not False:
        assert built(config).module["default_policy"].is_stateful()
    else:
        with pytest.raises(ConfigError, match="does not train recurrent modules"):
            config.validate()
        with pytest.raises(ConfigError, match="recurrent"):  # by what it declares, or by a part that cannot be
            built(config)


@pytest.mark.parametrize("algorithm", INSTALLED)
def test_several_modules_are_trained_or_refused(algorithm):
    config = small(algorithm).multi_agent(policies=["a", "b"])
    if type(config).supports_multi_agent is not False:
        assert set(built(config).module) == {"a", "b"}
    else:
        with pytest.raises(ConfigError, match=r"modules 'a', 'b'; use an algorithm that trains several: .*ppo"):
            config.validate()
