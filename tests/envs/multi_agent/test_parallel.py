"""PettingZoo's ParallelEnv, real ones and broken ones."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from mpe2 import simple_spread_v3
from pettingzoo import ParallelEnv
from pettingzoo.utils.conversions import aec_to_parallel
from pettingzoo.utils.wrappers import BaseParallelWrapper

from rlkit_core.algorithm.config.config import AlgorithmConfig
from rlkit_core.algorithm.config.module_spaces import agent_spaces
from rlkit_core.algorithm.config.to_json import dumps, loads
from rlkit_core.envs.multi_agent.make import check_spaces, is_multi_agent, make_agent_env
from rlkit_core.errors import EnvError

ROW = np.zeros(1, np.float32)


class Relay(ParallelEnv):
    """Agents of ``plan[t]`` live after t steps; whoever is there no longer has the flag ``flag``."""

    metadata = {"name": "relay"}

    def __init__(self, *plan, flag="terminated", last=True):
        self.plan, self.flag, self.last = plan, flag, last
        self.possible_agents = sorted({agent for agents in plan for agent in agents})

    def observation_space(self, agent):
        return gym.spaces.Box(-1.0, 1.0, (1,))

    def action_space(self, agent):
        return gym.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        self.agents, self.t = list(self.plan[0]), 0
        return dict.fromkeys(self.agents, ROW), {}

    def step(self, actions):
        assert set(actions) == set(self.agents)
        self.t += 1
        before, self.agents = self.agents, list(self.plan[self.t])
        left = {agent: True for agent in before if agent not in self.agents}
        seen = [*self.agents, *(left if self.last else ())]
        flags = dict.fromkeys(self.agents, False)
        terminateds = {**flags, **(left if self.flag == "terminated" else {})}
        truncateds = {**flags, **(left if self.flag == "truncated" else {})}
        return dict.fromkeys(seen, ROW), dict.fromkeys(before, 1.0), terminateds, truncateds, {}


def play(env, seed=0):
    observations, _ = env.reset(seed)
    acting, over, steps = list(observations), False, []
    while not over:
        step = env.step(dict.fromkeys(acting, 0))
        acting = [agent for agent in step[0] if agent not in step[2] and agent not in step[3]]
        over = step[5]
        steps.append(step)
    return steps


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("flag", ["terminated", "truncated"])
def test_agents_come_and_go(flag, last):
    steps = play(make_agent_env(Relay("ab", "abc", "bc", "ac", "", flag=flag, last=last)))
    assert [set(step[0]) - ({*step[2], *step[3]}) for step in steps] == [{*"abc"}, {*"bc"}, {*"ac"}, set()]
    ended = [set(step[2 if flag == "terminated" else 3]) for step in steps]
    assert ended == [set(), {"a"}, {"b"}, {"a", "c"}], "the first enters again, and ends twice"
    assert [step[3 if flag == "terminated" else 2] for step in steps] == [{}] * 4
    assert [step[5] for step in steps] == [False, False, False, True]
    assert ("a" in steps[1][0]) is last


def test_an_agent_that_is_taken_out_a_step_late_has_ended_all_the_same():
    class Late(Relay):
        def step(self, actions):
            result = super().step(dict.fromkeys(self.agents, 0))
            self.agents = sorted({*self.agents, *(a for a, flag in result[2].items() if flag)})
            return result

    steps = play(make_agent_env(Late("ab", "b", "")))
    assert [step[5] for step in steps] == [False, True]


def test_one_that_leaves_without_a_flag_is_an_error():
    env = make_agent_env(Relay("ab", "b", "", flag="neither", last=False))
    env.reset(0)
    with pytest.raises(EnvError, match=r"env relay, step 1, agent 'a': it has left env\.agents with no flag"):
        env.step({"a": 0, "b": 0})


def test_one_that_acts_must_have_an_observation():
    class Blind(Relay):
        def step(self, actions):
            observations, *rest = super().step(actions)
            return observations if self.t < 2 else {}, *rest

    env = make_agent_env(Blind("a", "a", "a"))
    env.reset(0)
    env.step({"a": 0})
    with pytest.raises(EnvError, match=r"env relay, step 2, agent 'a': .*no observation"):
        env.step({"a": 0})

    class BlindAtFirst(Relay):
        def reset(self, seed=None, options=None):
            super().reset()
            return {}, {}

    with pytest.raises(EnvError, match=r"env relay, reset, agent 'a': .*no observation"):
        make_agent_env(BlindAtFirst("a", "")).reset(0)


def test_simple_spread_is_played_as_it_is():
    env, own = (
        make_agent_env(simple_spread_v3, {"N": 2, "max_cycles": 4}),
        simple_spread_v3.parallel_env(N=2, max_cycles=4),
    )
    assert env.possible_agents == ("agent_0", "agent_1")
    assert env.observation_space("agent_1") == own.observation_space("agent_1")
    observations, _ = env.reset(3)
    theirs, _ = own.reset(seed=3)
    for step in range(4):
        np.testing.assert_array_equal(observations["agent_1"], theirs["agent_1"])
        np.testing.assert_array_equal(env.state(), own.state())
        assert env.state_space().contains(env.state())
        actions = {"agent_0": step % 5, "agent_1": 1}
        observations, rewards, terminateds, truncateds, _, over = env.step(actions)
        theirs, their_rewards, *_ = own.step(actions)
        assert rewards == their_rewards
    assert (terminateds, truncateds, over) == ({}, {"agent_0": True, "agent_1": True}, True)
    env.close()


def test_a_state_that_is_not_there_is_named():
    env = make_agent_env(Relay("a", ""))
    env.reset(0)
    assert env.state_space() is None
    with pytest.raises(EnvError, match="env relay, reset: it has no global state"):
        env.state()


def test_spaces_are_those_of_the_outermost_wrapper():
    class Doubled(BaseParallelWrapper):
        def observation_space(self, agent):
            return gym.spaces.Box(-1.0, 1.0, (2,))

    assert agent_spaces(Doubled(Relay("a", "")))["a"][0].shape == (2,)


def test_the_spaces_of_every_agent_are_looked_at_before_a_run():
    check_spaces(gym.make("CartPole-v1"))
    check_spaces(Relay("ab", ""))

    class NoSpace(Relay):
        def action_space(self, agent):
            return None if agent == "b" else super().action_space(agent)

    with pytest.raises(EnvError, match="env relay, reset, agent 'b': its action space should be a gymnasium space"):
        check_spaces(NoSpace("ab", ""))


def test_a_config_keeps_a_module_by_its_name():
    config = AlgorithmConfig().environment(simple_spread_v3, env_config={"N": 2})
    assert config.env == "mpe2.simple_spread_v3:parallel_env"
    assert loads(dumps(config), AlgorithmConfig, {}).env == config.env
    assert make_agent_env(config.env, config.env_config).possible_agents == ("agent_0", "agent_1")


def test_converted_envs_are_recognised():
    assert is_multi_agent(aec_to_parallel(simple_spread_v3.env()))
    assert is_multi_agent(simple_spread_v3.raw_env())
