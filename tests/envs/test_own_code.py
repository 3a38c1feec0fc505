"""Envs of one's own: in files and in the current folder, by specs, with what their signature asks for."""

from __future__ import annotations

import sys

import gymnasium as gym
import numpy as np
import pytest

from actor_critic import ACConfig
from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.envs import MultiAgentEnv, make_env, make_multi_agent, register_env, spaces_of
from rlkit_core.envs.gym_vectors.make import make_vector_env
from rlkit_core.envs.naming.calling import EnvContext, EnvIndex
from rlkit_core.envs.runner_actors import make_runner
from rlkit_core.errors import ConfigError, EnvError
from rlkit_core.plugins.own_code import add_own, module_of_file, own_code_in
from rlkit_core.run.stop import reward_threshold

OWN = """
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

class MyEnv(CartPoleEnv):
    def __init__(self, gravity=9.8, **more):
        super().__init__(**more)
        self.gravity = gravity

gym.register("OwnPole-v0", MyEnv, max_episode_steps=9)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with envs in a module, in a package and in a file whose name another module has."""
    (tmp_path / "own_pole.py").write_text(OWN)
    (tmp_path / "own_lab" / "deep").mkdir(parents=True)
    for place in ("own_lab", "own_lab/deep"):
        (tmp_path / place / "__init__.py").write_text("")
    (tmp_path / "own_lab" / "shared.py").write_text("from gymnasium.envs.classic_control import CartPoleEnv\n")
    (tmp_path / "own_lab" / "deep" / "poles.py").write_text("from ..shared import CartPoleEnv as Pole\n")
    (tmp_path / "random.py").write_text("1 / 0\n")
    (tmp_path / "my-env.py").write_text("")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    gym.registry.pop("OwnPole-v0", None)
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["own_pole:MyEnv", "own_pole:OwnPole-v0", "own_lab.deep.poles:Pole"])
def test_only_a_command_looks_into_the_current_folder(folder, name):
    with pytest.raises(EnvError, match="no env"):
        make_env(name)
    with own_code_in(folder):
        assert make_env(name).observation_space.shape == (4,)
    assert sys.path[-1] == str(folder)  # last of all: it hides nothing
    assert not add_own("own_pole")


@pytest.mark.parametrize(
    ("file", "module"),
    [("own_pole.py", "own_pole"), ("own_lab/deep/poles.py", "own_lab.deep.poles"), ("own_lab/__init__.py", "own_lab")],
)
def test_a_file_is_named_as_its_module(folder, file, module):
    assert module_of_file(folder / file) == module
    assert sys.path[-1] == str(folder)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("absent.py", "absent.py: there is no such file"),
        ("my-env.py", "'my-env' is no name of a module; rename the file"),
        ("random.py", r"the module 'random' is found in .*random\.py before it; rename the file"),
    ],
)
def test_a_file_that_cannot_be_a_module_is_told_why(folder, file, says):
    with pytest.raises(ConfigError, match=says):
        module_of_file(folder / file)


def test_a_program_names_no_files(folder):
    with pytest.raises(EnvError, match=r"own_pole.py' is a file, which only a command .* may name: in Python pass"):
        make_env(f"{folder}/own_pole.py:MyEnv")


def test_a_spec_is_an_env():
    assert AlgorithmConfig().environment(gym.spec("CartPole-v1")).env == "CartPole-v1"
    spec = gym.make("CartPole-v1", max_episode_steps=7).spec
    config = AlgorithmConfig().environment(spec)
    made = make_env(config.env, {"render_mode": "rgb_array"})
    assert (made.spec.max_episode_steps, made.render_mode) == (7, "rgb_array")
    assert make_env(spec).spec.max_episode_steps == 7
    assert reward_threshold(config.env) == reward_threshold("gymnasium:CartPole-v1") == 475
    assert config.copy(copy_frozen=False) == config
    assert "CartPole-v1" in config.to_json()


class Single(gym.Env):
    observation_space = action_space = gym.spaces.Discrete(2)

    def __init__(self, difficulty, more=0):
        self.difficulty, self.more = difficulty, more


class Placed(gym.Env):
    observation_space, action_space = gym.spaces.Discrete(100), gym.spaces.Discrete(2)

    def __init__(self, worker_index, size=1, *, vector_index):
        self.told = (worker_index, vector_index, size)

    def reset(self, *, seed=None, options=None):
        return 10 * self.told[0] + self.told[1], {}

    def step(self, action):
        raise RuntimeError("never again")


class PlacedAgents(MultiAgentEnv):
    possible_agents = ("a",)
    observation_spaces = action_spaces = {"a": gym.spaces.Discrete(2)}

    def __init__(self, ctx):
        self.told = (ctx.worker_index, ctx.vector_index)

    def reset(self, *, seed=None, options=None):
        return {"a": 0}, {}


class PlacedByDict(gym.Env):
    observation_space = action_space = gym.spaces.Discrete(2)

    def __init__(self, env_config):
        self.told = (env_config.worker_index, env_config.vector_index, env_config.get("size", 1))


def test_a_parameter_that_settings_name_gets_that_value():
    made = make_env(Single, {"difficulty": "hard"})
    assert made.difficulty == "hard"
    assert make_env(Single, {"size": 3}).difficulty == {"size": 3}
    made = make_env(Single, {"difficulty": "hard", "more": 4})
    assert (made.difficulty, made.more) == ("hard", 4)
    assert make_env(lambda config=None, size=1: Single(config), {"config": {"a": 1}, "size": 2}).difficulty == {"a": 1}


@pytest.mark.parametrize("name", [Placed, PlacedByDict, "PlacedA-v0", "PlacedB-v0", "placed/Placed"])
def test_an_env_is_told_its_place_where_it_asks(name):
    gym.register("PlacedA-v0", Placed)
    register_env("PlacedB-v0", PlacedByDict)
    register_env("placed/Placed", Placed)
    try:
        made = make_env(name, {"size": 5}, index=EnvIndex(2, 3))
        assert made.unwrapped.told == (2, 3, 5)
        assert make_env(name).unwrapped.told == (0, 0, 1)
        if name is not PlacedByDict:
            assert make_env(Placed, {"worker_index": 7}, index=EnvIndex(2, 3)).told == (7, 3, 1)
    finally:
        for one in ("PlacedA-v0", "PlacedB-v0", "placed/Placed"):
            gym.registry.pop(one)


@pytest.mark.parametrize("mode", ["sync", "async", "gymnasium_sync"])
def test_each_env_of_a_runner_is_told_its_own_place(mode):
    envs = make_vector_env(Placed, {}, 3, worker_index=2, mode=mode)
    try:
        seen = np.zeros(3, np.int64)
        envs.reset([1, 2, 3], seen)
        assert seen.tolist() == [20, 21, 22]
        if envs.restarts_one:
            seen[:] = 0
            assert envs.restart(1, 7, seen) is None
            assert seen.tolist() == [0, 21, 0]
    finally:
        envs.close()


def test_each_env_of_agents_is_told_its_place_too():
    config = ACConfig().environment(PlacedAgents).env_runners(num_envs_per_env_runner=2)
    runner = make_runner(config.prepared(), worker_index=3)
    assert [one.env.env.told for one in runner.envs] == [(3, 0), (3, 1)]


def test_where_one_env_with_one_agent_is_wanted_others_are_refused():
    with pytest.raises(EnvError, match=r"one env with one agent, and .* is an env of several agents .a MultiAgentEnv"):
        spaces_of(PlacedAgents(EnvContext({}, EnvIndex())))
    with pytest.raises(EnvError, match=r"MultiAgentPlacedAgents copies one env with one agent, and .* several agents"):
        make_multi_agent(PlacedAgents)({"num_agents": 2})
    with pytest.raises(EnvError, match=r"copies one env with one agent, and .* is a vector env"):
        make_multi_agent(lambda: gym.make_vec("CartPole-v1", 2, "sync"))()
    with pytest.raises(EnvError, match=r"copies one env with one agent, and .* .PettingZoo's ParallelEnv"):
        make_multi_agent("mpe2/simple_spread_v3")()
