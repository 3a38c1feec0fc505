from __future__ import annotations

import sys

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


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A distribution that offers the namespace ``Offered`` (and ``Broken``) through an entry point."""
    info = tmp_path / "offered-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gymnasium.envs]\nOffered = offered_envs:register_all\nBroken = offered_envs:broken\n"
    )
    (tmp_path / "offered_envs.py").write_text(
        "import gymnasium as gym\n"
        "def register_all():\n"
        "    gym.register('Offered/Pole-v0', 'gymnasium.envs.classic_control:CartPoleEnv', max_episode_steps=9)\n"
        "def broken():\n"
        "    raise RuntimeError('no display')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    gym.registry.pop("Offered/Pole-v0", None)
    sys.modules.pop("offered_envs", None)


@pytest.mark.parametrize("env_id", ["Offered/Pole-v0", "offered_envs:Offered/Pole-v0"])
def test_an_installed_package_registers_its_namespace(offered, env_id):
    assert make_env(env_id).spec.max_episode_steps == 9
    assert make_env(env_id, {"max_episode_steps": 4}).spec.max_episode_steps == 4


def test_a_package_that_fails_to_register_is_named(offered):
    with pytest.raises(EnvError, match=r"offered_envs:broken.*no display"):
        make_env("Broken/Pole-v0")


def test_an_unknown_namespace_is_gymnasiums_to_report(offered):
    with pytest.raises(EnvError, match="no env 'Nowhere/Pole-v0'"):
        make_env("Nowhere/Pole-v0")
