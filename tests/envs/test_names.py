"""Names of envs that gymnasium does not know, and of those that it knows but cannot make."""

from __future__ import annotations

import importlib.util
import sys

import gymnasium as gym
import mpe2.simple_spread_v3
import pettingzoo
import pytest

from rlkit_core.envs import MultiAgentEnv, make_env, register_env
from rlkit_core.envs.naming.kinds import kind_of
from rlkit_core.envs.naming.known import package_of
from rlkit_core.errors import ConfigError, EnvError
from rlkit_core.testing import MultiAgentCartPole

OWN = """
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

class Inside:
    Pole = CartPoleEnv

def pole(config):
    return CartPoleEnv(**config)

def only_turns(**settings):
    from pettingzoo.classic import tictactoe_v3
    env = tictactoe_v3.raw_env()
    env.metadata = {**env.metadata, "is_parallelizable": False}
    return env

env = parallel_env = only_turns
number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's, ``own_envs``, and one that cannot be imported, ``broken_envs``."""
    (tmp_path / "own_envs.py").write_text(OWN)
    (tmp_path / "broken_envs.py").write_text("import no_such_package\n")
    (tmp_path / "raising_envs.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "chess", None)  # not installed, whether it is or not
    yield
    sys.modules.pop("own_envs", None)


@pytest.mark.parametrize(
    ("env", "kind"),
    [
        ("mpe2/simple_spread_v3", "parallel"),
        ("mpe2/simple_spread-v3", "parallel"),
        ("mpe2.simple_spread_v3:parallel_env", "parallel"),
        ("mpe2.simple_spread_v3:env", "aec"),
        ("mpe2:simple_spread_v3", "parallel"),
        (mpe2.simple_spread_v3, "parallel"),
        (mpe2.simple_spread_v3.parallel_env, "parallel"),
        (mpe2.simple_spread_v3.env, "aec"),
        (lambda config: mpe2.simple_spread_v3.parallel_env(**config), "parallel"),
        ("rlkit_core.testing:MultiAgentCartPole", "dict"),
        (MultiAgentCartPole, "dict"),
    ],
)
def test_what_names_a_multi_agent_env(env, kind):
    settings = {"num_agents": 2} if kind == "dict" else {"N": 2}
    made = make_env(env, settings)
    assert kind_of(made) == kind
    assert len(made.possible_agents) == 2


@pytest.mark.parametrize("name", ["classic/tictactoe_v3", "classic/tictactoe-v3", "classic/rps_v2"])
def test_the_classic_family_comes_from_pettingzoos_registry(name):
    assert kind_of(make_env(name)) == ("parallel" if "rps" in name else "aec")


def test_pettingzoos_registry_has_others_envs_too():
    pettingzoo.register("parallel", "theirs/spread-v3", mpe2.simple_spread_v3.parallel_env)
    try:
        assert make_env("theirs/spread-v3", {"N": 2}).max_num_agents == 2
    finally:
        del pettingzoo.parallel_registry["theirs/spread-v3"]


def test_names_within_a_module(own):
    assert make_env("own_envs:pole", {"render_mode": "rgb_array"}).render_mode == "rgb_array"
    assert make_env("own_envs:Inside.Pole").observation_space.shape == (4,)


def test_a_module_that_is_not_parallel_after_all(own):
    import own_envs

    assert kind_of(make_env(own_envs)) == "aec"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mpe2/simple_spred_v3", "mpe2 has no such env. Did you mean 'simple_spread_v3'"),
        ("mpe2/zzz_v3", "mpe2 has no such env. It has .*simple_spread_v3"),
        ("mpe2/_mpe_utils", "module 'mpe2._mpe_utils' makes no env"),
        ("classic/tictactoe_v2", "pettingzoo.classic has no such env. Did you mean 'tictactoe_v3'"),
        ("magent2/battle_v4", "needs 'magent2', which is not installed: python -m pip install 'magent2'"),
        ("classic/chess_v6", r"pettingzoo\[classic\]"),
        ("nowhere/spread_v3", "no env 'nowhere/spread_v3' is registered"),
        ("nowhere:spread_v3", "no env 'nowhere:spread_v3' is registered.* There is no module 'nowhere': install it"),
        ("own_envs:absent", "no env 'own_envs:absent' is registered"),
        ("subprocess:run", "'subprocess:run': nothing in Python's standard library makes an env"),
        ("own_envs:number", "no env 'own_envs:number' is registered"),
        ("broken_envs:pole", "'broken_envs' needs 'no_such_package', which is not installed"),
        ("raising_envs:pole", "importing env module 'raising_envs' raised ZeroDivisionError"),
    ],
)
def test_a_name_of_nothing_is_told_what_there_is(own, name, message):
    with pytest.raises(EnvError, match=message):
        make_env(name)


class Two(MultiAgentEnv):
    possible_agents = ("a", "b")

    def __init__(self, size=1):
        self.size = size


def two(size=1):
    return Two(size)


@pytest.fixture
def registered():
    def register(**kwargs):
        gym.register("Two-v0", **kwargs)

    yield register
    gym.registry.pop("Two-v0", None)


@pytest.mark.parametrize("entry_point", [Two, two, f"{MultiAgentCartPole.__module__}:MultiAgentCartPole"])
def test_a_gymnasium_id_may_have_agents(registered, entry_point):
    registered(entry_point=entry_point)
    env = make_env("Two-v0", {"config": {"num_agents": 2}} if isinstance(entry_point, str) else {"size": 3})
    assert kind_of(env) == "dict"
    assert len(env.possible_agents) == 2
    assert getattr(env, "size", 3) == 3


def test_a_limit_of_steps_works_for_one_agent_only(registered):
    registered(entry_point=Two, max_episode_steps=7)
    with pytest.raises(EnvError, match="'Two-v0' has several agents and is registered with max_episode_steps=7"):
        make_env("Two-v0")


def test_an_id_that_gymnasium_can_make_with_agents_loses_its_wrappers(registered):
    class Both(gym.Env, Two):  # as RLlib's MultiAgentEnv is
        observation_space = action_space = gym.spaces.Discrete(2)

    registered(entry_point=Both)
    assert type(make_env("Two-v0")) is Both


def test_an_entry_point_that_raises_is_named(registered):
    registered(entry_point=Two)
    with pytest.raises(EnvError, match=r"'Two-v0' could not be made with env_config=.'no_such'.*no_such"):
        make_env("Two-v0", {"no_such": 1})


@pytest.mark.parametrize("creator", [lambda config: Two(**config), lambda all_of_it: Two(all_of_it["size"]), Two])
def test_a_registered_creator_gets_its_settings(creator):
    register_env("mine/Two", lambda: None)
    register_env("mine/Two", creator)
    try:
        assert make_env("mine/Two", {"size": 4}).size == 4
    finally:
        del gym.registry["mine/Two"]


def test_a_registered_creator_may_make_a_single_agent_env():
    register_env("MyPole", lambda config: gym.make("CartPole-v1", **config))
    try:
        assert make_env("MyPole", {"max_episode_steps": 5}).spec is not None
    finally:
        del gym.registry["MyPole"]


def test_a_name_must_be_one_that_gymnasium_takes():
    with pytest.raises(ConfigError, match="env name 'my pole'"):
        register_env("my pole", Two)


def test_an_env_that_is_registered_but_cannot_be_made_says_what_it_needs():
    gym.register("OnlyVector-v0", vector_entry_point="gymnasium.envs.classic_control:CartPoleVectorEnv")
    gym.register("NeedsMore-v0", "no_such_package.envs:Env")
    try:
        with pytest.raises(EnvError, match=r"only step several at once .*vectorize_mode='vector_entry_point'"):
            make_env("OnlyVector-v0")
        with pytest.raises(EnvError, match="'NeedsMore-v0' needs 'no_such_package', which is not installed"):
            make_env("NeedsMore-v0")
    finally:
        del gym.registry["OnlyVector-v0"], gym.registry["NeedsMore-v0"]
    with pytest.raises(EnvError, match="Did you mean 'CartPole-v1'"):
        make_env("cartpole-V1")


@pytest.mark.parametrize(
    ("env_id", "module"),
    [
        ("ALE/Pong-v5", "ale_py"),
        ("ale/pong-v5", "ale_py"),
        ("PongNoFrameskip-v4", "ale_py"),
        ("MiniGrid-Empty-8x8-v0", "minigrid"),
        ("BabyAI-GoToRedBall-v0", "minigrid"),
        ("highway-v0", "highway_env"),
        ("FetchReach-v4", "gymnasium_robotics"),
        ("dm_control/cartpole-balance-v0", "shimmy"),
        ("CartPole-v1", None),
        ("Humanoid-v5", None),
    ],
)
def test_packages_are_known_by_ids(env_id, module):
    found = package_of(env_id)
    assert (None if found is None else found.module) == module
    if module is not None and importlib.util.find_spec(module) is None:
        with pytest.raises(EnvError, match=f"comes from {module}, which is not installed: python -m pip install"):
            make_env(env_id)
