from __future__ import annotations

import gymnasium as gym
import pytest

from rlkit_core.envs import make_env, spaces_of
from rlkit_core.errors import EnvError


class Plain(gym.Env):
    observation_space = gym.spaces.Discrete(2)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, size=1, **more):
        self.size, self.more = size, more


class TakesConfig(Plain):
    def __init__(self, config=None):
        self.config = config


class OneRequired(Plain):
    def __init__(self, whatever, extra=1):
        self.whatever = whatever


def test_an_id_gets_its_settings():
    assert make_env("CartPole-v1", {"max_episode_steps": 7}).spec.max_episode_steps == 7


def test_how_classes_and_functions_get_theirs():
    assert make_env(Plain, {"size": 3}).size == 3
    assert make_env(TakesConfig, {"size": 3}).config == {"size": 3}
    assert make_env(OneRequired, {"size": 3}).whatever == {"size": 3}
    assert make_env(lambda env_config: TakesConfig(env_config), {"a": 1}).config == {"a": 1}
    assert make_env(lambda ctx, more=0: TakesConfig(ctx), {"a": 1}).config == {"a": 1}
    assert make_env(lambda: Plain(9)).size == 9


@pytest.mark.parametrize(
    ("env", "config", "message"),
    [
        ("CartPole-v", {}, "CartPole-v"),
        ("CartPool-v1", {}, "Did you mean 'CartPole-v1'"),
        ("CartPole-v1", {"no_such": 1}, "no_such"),
        (Plain, {"size": 1, "self": 2}, "env_config"),
        (lambda: 3, {}, "no reset"),
        (17, {}, "expected a gymnasium id"),
    ],
)
def test_bad_envs_are_named(env, config, message):
    with pytest.raises(EnvError, match=message):
        make_env(env, config)


def test_spaces_must_be_gymnasium_spaces():
    env = Plain()
    env.observation_space = object()
    with pytest.raises(EnvError, match=r"observation_space is builtins\.object"):
        spaces_of(env)
