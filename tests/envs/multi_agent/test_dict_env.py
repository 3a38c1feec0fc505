"""Dict-style envs: who is there, who ends, and what is wrong with a broken one."""

from __future__ import annotations

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

from rlkit_core.envs import MultiAgentEnv, make_env, make_multi_agent
from rlkit_core.envs.multi_agent.make import is_multi_agent, make_agent_env
from rlkit_core.errors import EnvError
from rlkit_core.testing import MultiAgentCartPole

BOX = gym.spaces.Box(-1.0, 1.0, (2,))
ROW = np.zeros(2, np.float32)


class Scripted(MultiAgentEnv):
    """Returns what it is told to, one entry a step; the first is what reset() returns."""

    possible_agents = ["a", "b"]
    observation_spaces = {"a": BOX, "b": BOX}
    action_spaces = {"a": gym.spaces.Discrete(2), "b": gym.spaces.Discrete(3)}

    def __init__(self, *script):
        self.script = list(script)

    def reset(self, *, seed=None, options=None):
        return self.script.pop(0)

    def step(self, action_dict):
        return self.script.pop(0)


BOTH = ({"a": ROW, "b": ROW}, {})


def scripted(*steps, first=BOTH):
    """The adapted env, after its reset, and what its steps gave."""
    env = make_agent_env(Scripted(first, *steps))
    env.reset(0)
    return env, [env.step({}) for _ in steps]


def rows(*agents):
    return dict.fromkeys(agents, ROW)


def test_spaces_are_the_agents_own():
    env = make_agent_env(Scripted(BOTH))
    assert env.possible_agents == ("a", "b")
    assert env.name == "Scripted"
    assert env.action_space("b").n == 3
    with pytest.raises(EnvError, match=r"env Scripted, reset, agent 'aa': .*no observation space.*Did you mean 'a'"):
        env.observation_space("aa")


def test_spaces_may_be_shared_or_a_dict_by_agent():
    class Shared(Scripted):
        observation_spaces = action_spaces = None
        observation_space = gym.spaces.Dict({"a": BOX, "b": gym.spaces.Discrete(5)})
        action_space = gym.spaces.Discrete(7)

    env = make_agent_env(Shared(BOTH))
    assert env.observation_space("b") == gym.spaces.Discrete(5)
    assert env.action_space("a") is env.action_space("b") is Shared.action_space


def test_nothing_ends_where_no_flag_is_true():
    _, [step] = scripted(
        (rows("a"), {"a": 1.0}, {"a": False, "__all__": False}, {"__all__": np.False_}, {"a": {"x": 1}})
    )
    observations, rewards, terminateds, truncateds, infos, over = step
    assert (list(observations), rewards, terminateds, truncateds, infos, over) == (
        ["a"], {"a": 1.0}, {}, {}, {"a": {"x": 1}}, False,
    )  # fmt: skip


def test_all_is_spelt_out_for_those_who_are_there():
    _, steps = scripted(
        (rows("a", "b"), {}, {"a": True, "__all__": False}, {}, {}),
        (rows("b"), {}, {"__all__": False}, {"__all__": True}, {}),
    )
    assert [step[2:4] for step in steps] == [({"a": True}, {}), ({}, {"b": True})]
    assert [step[5] for step in steps] == [False, True]


def test_an_agents_own_flag_goes_before_that_of_all():
    _, [step] = scripted((rows("a", "b"), {}, {"__all__": True}, {"b": True}, {}))
    assert step[2:4] == ({"a": True}, {"b": True})


def test_without_the_flag_of_all_the_last_agent_ends_the_episode():
    _, steps = scripted((rows("b"), {}, {"a": True}, {}, {}), ({}, {}, {"b": False}, {"b": True}, {}))
    assert [step[5] for step in steps] == [False, True]
    _, [step] = scripted((rows("b"), {}, {"a": True, "b": True, "__all__": False}, {}, {}))
    assert not step[5], "others may still come"


def test_flags_of_agents_that_have_left_are_left_out():
    _, steps = scripted(
        (rows("a", "b"), {}, {"a": True}, {}, {}),
        (rows("a", "b"), {"a": 0.0}, {"a": True, "b": False}, {}, {}),
        (rows("a", "b"), {}, {"b": False}, {}, {}),
        (rows("a", "b"), {}, {"a": True}, {}, {}),
    )
    assert [set(step[0]) for step in steps] == [{"a", "b"}, {"b"}, {"a", "b"}, {"a", "b"}]
    assert [set(step[2]) for step in steps] == [{"a"}, set(), set(), {"a"}], "it re-entered in the third step"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ((1, 2), r"step 1: step\(\) should return .* a tuple of 2"),
        ([{}] * 5, r"a list"),
        ((ROW, {}, {}, {}, {}), r"observations should be a dict by agent, and is a ndarray"),
        (({}, {"a": "x"}, {}, {}, {}), r"step 1, agent 'a': its reward should be a number, and is 'x'"),
        (({}, {"a": np.zeros(1)}, {}, {}, {}), r"its reward should be a number"),
        (({}, {}, {"b": 1}, {}, {}), r"agent 'b': terminateds should be True or False, and is 1, a int"),
        (({}, {}, {}, {"b": None}, {}), r"truncateds should be True or False"),
        ((rows("c"), {}, {}, {}, {}), r"step 1, agent 'c': the env knows no observation space"),
        (({}, {"c": 1.0}, {}, {}, {}), r"agent 'c'.*It is among the rewards"),
        (({}, {}, {"c": False}, {}, {}), r"agent 'c'.*It is among the terminateds"),
        (({}, {}, {"c": True}, {}, {}), r"agent 'c'.*It is among the flags"),
    ],
)
def test_what_a_broken_step_is_told(step, message):
    with pytest.raises(EnvError, match=rf"env Scripted, .*{message}"):
        scripted(step)


@pytest.mark.parametrize("first", [ROW, (ROW, {}), ({}, {}, {}), ({}, None)])
def test_a_broken_reset_is_named(first):
    with pytest.raises(EnvError, match=r"env Scripted, reset: .*dict"):
        scripted(first=first)


def test_an_env_that_raises_is_named():
    env, _ = scripted()
    with pytest.raises(EnvError, match=r"env Scripted, step 1: step\(\) raised IndexError"):
        env.step({})


def test_an_agent_must_have_real_spaces():
    class NoSpace(Scripted):
        action_spaces = {"a": 2, "b": None}

    with pytest.raises(EnvError, match=r"agent .[ab].: its action space should be a gymnasium space"):
        make_agent_env(NoSpace(BOTH)).reset(0)


def test_copies_play_on_their_own():
    env = make_agent_env(MultiAgentCartPole, {"num_agents": 3})
    assert env.possible_agents == (0, 1, 2)
    observations, _ = env.reset(5)
    assert not np.array_equal(observations[0], observations[1]), "each copy has a seed of its own"
    again, _ = env.reset(5)
    np.testing.assert_array_equal(list(observations.values()), list(again.values()))
    lengths = {}
    over = False
    while not over:
        playing = sorted(env.present)
        actions = {agent: (env.steps // 2) % 2 if agent == 2 else agent for agent in playing}
        observations, rewards, terminateds, _, _, over = env.step(actions)
        assert sorted(observations) == sorted(rewards) == playing
        lengths.update(dict.fromkeys(terminateds, env.steps))
    assert set(lengths) == {0, 1, 2}
    assert lengths[2] > max(lengths[0], lengths[1])
    with pytest.raises(EnvError, match="action of agent 0"):
        env.step({0: 1})


def test_copies_are_cut_off_by_their_own_time_limit():
    env = make_agent_env(MultiAgentCartPole, {"num_agents": 2, "max_episode_steps": 3})
    env.reset(0)
    steps = [env.step({0: 0, 1: 1}) for _ in range(3)]
    assert steps[-1][2:4] == ({}, {0: True, 1: True})
    assert [step[5] for step in steps] == [False, False, True]


@pytest.mark.parametrize("copied", ["CartPole-v1", CartPoleEnv, lambda: gym.make("CartPole-v1")])
def test_copies_of_anything_also_in_another_process(copied):
    cls = cloudpickle.loads(cloudpickle.dumps(make_multi_agent(copied)))
    env = make_env(cls, {"num_agents": 2})
    assert is_multi_agent(env)
    assert env.get_observation_space(1).shape == (4,)


@pytest.mark.parametrize("number", [0, "2", True])
def test_the_number_of_copies_is_checked(number):
    with pytest.raises(EnvError, match="num_agents"):
        make_agent_env(MultiAgentCartPole, {"num_agents": number})


def test_a_single_agent_env_has_no_agents():
    assert not is_multi_agent(gym.make("CartPole-v1"))
    with pytest.raises(EnvError, match="has no agents"):
        make_agent_env("CartPole-v1")


def test_the_base_class_seeds_its_random_numbers():
    env = MultiAgentEnv()
    env.reset(seed=3)
    first = env.np_random.random()
    env.reset()
    assert env.np_random.random() != first
    env.reset(seed=3)
    assert env.np_random.random() == first
