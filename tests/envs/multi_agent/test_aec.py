"""PettingZoo's AEC envs: turns, ends and rewards, beside PettingZoo's own loop."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpe2 import simple_spread_v3
from pettingzoo import AECEnv

from rlkit_core.envs import make_env
from rlkit_core.envs.multi_agent.make import make_agent_env
from rlkit_core.errors import EnvError


class Rounds(AECEnv):
    """Turns go round. A move gives everyone a reward; whoever has made ``lives[i]`` moves ends, and maybe another."""

    metadata = {"name": "rounds"}

    def __init__(self, lives, takes_along=(), masks=False):
        self.lives, self.takes_along, self.masks = lives, dict(takes_along), masks
        self.possible_agents = [f"p{i}" for i in range(len(lives))]

    def observation_space(self, agent):
        return gym.spaces.Box(0.0, np.inf, (2,))

    def action_space(self, agent):
        return gym.spaces.Discrete(3)

    def observe(self, agent):
        return np.array([self.moves, self.made[agent]], np.float32)

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        self.moves, self.made = 0, dict.fromkeys(self.agents, 0)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict(self.rewards)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {agent: self._info() for agent in self.agents}
        self.agent_selection = self.agents[0]

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            following = self._next(agent)
            self._was_dead_step(action)
            self.agent_selection = following if following in self.agents else None
            return
        self._cumulative_rewards[agent] = 0
        self.moves += 1
        self.made[agent] += 1
        self.rewards = {other: float(self.moves * (1 + i) + action) for i, other in enumerate(self.agents)}
        self._accumulate_rewards()
        if self.made[agent] >= self.lives[int(agent[1:])]:
            self.terminations[agent] = True
            along = self.takes_along.get(agent)
            if along in self.agents:
                self.truncations[along] = True
        self.infos = {other: self._info() for other in self.agents}
        self.agent_selection = self._next(agent)

    def _next(self, agent):
        return self.agents[(self.agents.index(agent) + 1) % len(self.agents)]

    def _info(self):
        return {"action_mask": np.array([1, self.moves % 2, 0], np.int8)} if self.masks else {}


def own_loop(env, choose):
    """What PettingZoo's loop shows each agent: ``(observation, reward since, terminated, truncated)`` at its turns."""
    env.reset(seed=1)
    seen = {agent: [] for agent in env.possible_agents}
    for agent in env.agent_iter():
        observation, reward, terminated, truncated, _ = env.last()
        seen[agent].append((observation, float(reward), bool(terminated), bool(truncated)))
        env.step(None if terminated or truncated else choose(agent, observation, len(seen[agent])))
    return seen


def adapted_loop(env, choose):
    """The same, from the adapted env."""
    observations, _ = env.reset(1)
    seen = {agent: [] for agent in env.possible_agents}
    since = dict.fromkeys(env.possible_agents, 0.0)
    terminateds, truncateds, over = {}, {}, False
    while True:
        for agent, observation in observations.items():
            ends = (agent in terminateds, agent in truncateds)
            seen[agent].append((observation, since[agent], *ends))
            since[agent] = 0.0
        if over:
            return seen
        [agent] = [agent for agent in observations if agent not in terminateds and agent not in truncateds]
        action = choose(agent, observations[agent], len(seen[agent]))
        observations, rewards, terminateds, truncateds, _, over = env.step({agent: action})
        for other, reward in rewards.items():
            since[other] += reward


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for agent in ours:
        assert len(ours[agent]) == len(theirs[agent])
        for index, (mine, other) in enumerate(zip(ours[agent], theirs[agent], strict=True)):
            leaves = mine[0].items() if isinstance(mine[0], dict) else [(None, mine[0])]
            for key, leaf in leaves:
                np.testing.assert_array_equal(leaf, other[0] if key is None else other[0][key])
            assert mine[2:] == other[2:]
            if index:  # before an agent's first turn it has done nothing that could be rewarded
                assert mine[1] == pytest.approx(other[1])
            else:
                assert mine[1] == 0.0


def legal(agent, observation, turn):
    """A move that depends on what is seen only, so that both loops make the same."""
    if isinstance(observation, dict):
        free = np.flatnonzero(observation["action_mask"])
        return int(free[(7 * turn + len(agent)) % len(free)])
    return (turn + len(agent)) % 3


@pytest.mark.parametrize(
    "name",
    ["classic/tictactoe_v3", "classic/connect_four_v3", "pettingzoo.classic.rps_v2:env", "mpe2.simple_spread_v3:env"],
)
def test_real_envs_show_the_same_as_pettingzoos_loop(name):
    assert_same(adapted_loop(make_agent_env(name), legal), own_loop(make_env(name), legal))


@settings(max_examples=60, deadline=None)
@given(
    lives=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    takes=st.dictionaries(st.integers(0, 3), st.integers(0, 3), max_size=2),
)
def test_any_order_of_ends_shows_the_same_as_pettingzoos_loop(lives, takes):
    takes_along = {f"p{a}": f"p{b}" for a, b in takes.items() if a != b}
    env = Rounds(lives, takes_along)
    assert_same(adapted_loop(make_agent_env(env), legal), own_loop(Rounds(lives, takes_along), legal))


def test_a_game_of_tictactoe():
    env = make_agent_env("classic/tictactoe_v3")
    observations, _ = env.reset(0)
    assert list(observations) == ["player_1"]
    assert set(env.observation_space("player_1").spaces) == {"observation", "action_mask"}
    for player, move in (("player_1", 0), ("player_2", 3), ("player_1", 1), ("player_2", 4)):
        observations, rewards, terminateds, _, _, over = env.step({player: move})
        assert list(observations) != [player]
        assert observations[next(iter(observations))]["action_mask"][move] == 0
        assert (rewards, terminateds, over) == ({}, {}, False)
    observations, rewards, terminateds, truncateds, _, over = env.step({"player_1": 2})
    assert rewards == {"player_1": 1, "player_2": -1}
    assert (terminateds, truncateds, over) == ({"player_1": True, "player_2": True}, {}, True)
    assert set(observations) == {"player_1", "player_2"}, "the last ones of both"


def test_an_action_of_another_is_refused():
    env = make_agent_env("classic/tictactoe_v3")
    env.reset(0)
    with pytest.raises(EnvError, match=r"env classic/tictactoe_v3, step 1: it is the turn of 'player_1'.*'player_2'"):
        env.step({"player_2": 0})


def test_who_gives_up_at_once_leaves_the_other_without_a_turn():
    env = make_agent_env(Rounds([1, 1], {"p0": "p1"}))
    env.reset(0)
    _, rewards, terminateds, truncateds, _, over = env.step({"p0": 0})
    assert rewards == {"p0": 1.0}, "the other has done nothing"
    assert (terminateds, truncateds, over) == ({"p0": True}, {"p1": True}, True)


def test_masks_in_infos_come_into_observations():
    env = make_agent_env(Rounds([3, 3], masks=True))
    space = env.observation_space("p1")
    assert space["action_mask"] == gym.spaces.Box(0, 1, (3,), np.int8)
    observations, _ = env.reset(0)
    assert space.contains(observations["p0"])
    assert observations["p0"]["action_mask"].tolist() == [1, 0, 0]
    observations, *_ = env.step({"p0": 0})
    assert observations["p1"]["action_mask"].tolist() == [1, 1, 0]
    assert observations["p1"]["observation"].tolist() == [1.0, 0.0]


def test_without_masks_observations_stay():
    assert make_agent_env(Rounds([3, 3])).observation_space("p0").shape == (2,)


class TakenOut(Rounds):
    """Empties its list of agents by itself; only the flags say why."""

    flagged = True

    def step(self, action):
        self.agents = []
        self.rewards = {}
        self.terminations = dict.fromkeys(self.possible_agents, self.flagged)


def test_agents_that_are_taken_out_end_by_their_flags():
    env = make_agent_env(TakenOut([1, 1]))
    env.reset(0)
    assert env.step({"p0": 0})[2:] == ({"p0": True}, {}, {}, True)


def test_agents_that_are_taken_out_without_flags_are_an_error():
    class Silent(TakenOut):
        flagged = False

    env = make_agent_env(Silent([1, 1]))
    env.reset(0)
    with pytest.raises(EnvError, match=r"env rounds, step 1, agent 'p0': it has left env\.agents"):
        env.step({"p0": 0})


def test_an_agent_that_does_not_leave_is_an_error():
    class Stays(Rounds):
        def step(self, action):
            if action is not None:
                self.terminations[self.agent_selection] = True

    env = make_agent_env(Stays([9]))
    env.reset(0)
    with pytest.raises(EnvError, match=r"agent 'p0': it has ended and was .* None, but its turn has come again"):
        env.step({"p0": 0})


def test_flags_must_be_bools():
    class Odd(Rounds):
        def reset(self, seed=None, options=None):
            super().reset()
            self.terminations = dict.fromkeys(self.agents, 0)

    with pytest.raises(EnvError, match=r"env rounds, reset, agent 'p0': env.terminations should be True or False"):
        make_agent_env(Odd([2])).reset(0)


def test_simple_spread_has_a_state():
    env = make_agent_env(simple_spread_v3.env(N=2))
    env.reset(0)
    assert env.state_space().contains(env.state())
