"""An env may change what it is given, and what it gave, without anything that is stored changing with it."""

from __future__ import annotations

import copy

import gymnasium as gym
import numpy as np
import pytest
from any_space import any_space
from gymnasium import spaces as S
from hypothesis import given, settings
from hypothesis import strategies as st

from actor_critic import ACConfig
from rlkit_core.data.nested import leaves
from rlkit_core.envs import EnvRunner
from rlkit_core.envs.gym_vectors.classes import GymVectorEnv
from rlkit_core.envs.multi_agent.make import make_agent_env
from rlkit_core.envs.multi_agent.runner import MultiAgentEnvRunner
from rlkit_core.envs.vector import action_splitter
from rlkit_core.errors import EnvError
from rlkit_core.spaces import nested_map
from rlkit_core.testing import MultiAgentEnv

ACTIONS = {
    "discrete": S.Discrete(3),
    "multi-discrete": S.MultiDiscrete([3, 5]),
    "grid of choices": S.MultiDiscrete([[3, 5], [2, 4]]),
    "bits": S.MultiBinary(4),
    "unbounded": S.Box(-np.inf, np.inf, (2,), np.float32),
    "bounded": S.Box(-1, 2, (2, 2), np.float32),
    "wide": S.Box(-1, 1, (2,), np.float64),
    "number": S.Box(-1, 1, (), np.float32),
    "dict": S.Dict(a=S.MultiDiscrete([3, 5]), b=S.Tuple([S.Discrete(2), S.Box(-np.inf, np.inf, (1,))])),
}
NESTED = S.Dict(a=S.Box(-9, 9, (2,), np.float32), b=S.Tuple([S.MultiBinary(2), S.Discrete(9)]))


def spoil(value):
    for leaf in leaves(value):
        if isinstance(leaf, np.ndarray):
            leaf //= 2 if leaf.dtype.kind in "iu" else 1
            leaf += 1


class Vandal(gym.Env):
    """Keeps what it was given, then changes it, and all that it ever gave; it has one buffer for its observations."""

    def __init__(self, action_space, nested=False, vandal=True):
        self.action_space, self.vandal = action_space, vandal
        self.observation_space = NESTED if nested else NESTED["a"]
        self.observation_space.seed(1)
        self.buffer = self.observation_space.sample()
        self.given, self.t = [], 0

    def _show(self):
        nested_map(lambda leaf: leaf.fill(self.t % 2) if isinstance(leaf, np.ndarray) else None, self.buffer)
        return self.buffer

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self._show(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.given.append(copy.deepcopy(action))
        self.t += 1
        if self.vandal:
            spoil(action)
        return self._show(), 1.0, False, self.t == 5, {}

    def close(self):
        pass


def runner_for(space, nested=False, vandal=True, mode="sync", **settings):
    config = ACConfig().environment(lambda: Vandal(space, nested, vandal))
    config.env_runners(num_envs_per_env_runner=2, gym_env_vectorize_mode=mode, **settings)
    return EnvRunner(config.rl_module(model_config={"fcnet_hiddens": [4]}).debugging(seed=3).prepared())


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(leaves(first), leaves(second), strict=True))


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
@pytest.mark.parametrize("kind", ACTIONS)
def test_changed_actions_and_buffers_change_nothing(kind, mode):
    runs = {}
    for vandal in (False, True):
        runner = runner_for(ACTIONS[kind], nested=kind in ("dict", "bits"), vandal=vandal, mode=mode)
        rollout = runner.sample(num_timesteps=14)["default_policy"].clone()
        sent = runner.get_open()["episodes"]
        given = [env.unwrapped.given for env in runner.env.envs]
        runs[vandal] = {**rollout.columns, "final": rollout.final_obs, "given": given, "sent": sent}
        raw = runner.acting_module.actions_to_env(nested_map(lambda x: x.numpy(), rollout["actions"]))
        for n, of_env in enumerate(given):
            stored = [nested_map(lambda x: x[t, n], raw) for t in range(7)]
            assert all(same(one, other) for one, other in zip(stored, of_env, strict=True))
    for name, column in runs[False].items():
        if name != "sent":
            assert same(column, runs[True][name]), name
    assert str(runs[False]["sent"]) == str(runs[True]["sent"])


@settings(max_examples=40, deadline=None)
@given(space=any_space(max_leaves=4), count=st.integers(1, 3))
def test_split_actions_are_those_of_the_batch_and_nobody_elses(space, count):
    space.seed(0)
    one_by_one = [space.sample() for _ in range(count)]
    batch = gym.vector.utils.batch_space(space, count)
    together = gym.vector.utils.concatenate(
        space, one_by_one, gym.vector.utils.create_empty_array(space, n=count, fn=np.zeros)
    )
    before = copy.deepcopy(together)
    split = action_splitter(space)(together)
    assert len(split) == count
    assert batch.contains(together)
    for action, sampled in zip(split, one_by_one, strict=True):
        assert space.contains(action)
        assert same(action, sampled)
        spoil(action)
    assert same(together, before)


class Crowd(MultiAgentEnv):
    possible_agents = ["x", "y"]
    observation_spaces = dict.fromkeys(possible_agents, S.Box(-1, 1, (2,)))

    def __init__(self, action_space, vandal):
        self.action_spaces = dict.fromkeys(self.possible_agents, action_space)
        self.vandal = vandal

    def _all(self, value):
        return dict.fromkeys(self.possible_agents, value)

    def reset(self, *, seed=None, options=None):
        self.buffer = np.zeros(2, np.float32)
        return self._all(self.buffer), self._all({})

    def step(self, actions):
        if self.vandal:
            spoil(actions)
            actions.pop("x")
        self.buffer += 0.125
        none = self._all(False)
        return self._all(self.buffer), self._all(1.0), {**none, "__all__": False}, {**none, "__all__": False}, {}


@pytest.mark.parametrize("kind", ["discrete", "multi-discrete", "unbounded", "dict"])
def test_agents_share_nothing_either(kind):
    runs = {}
    for vandal in (False, True):
        config = ACConfig().environment(lambda: None).debugging(seed=3)
        config.rl_module(model_config={"fcnet_hiddens": [4]}).env_runners(num_envs_per_env_runner=2)
        runner = MultiAgentEnvRunner(config.prepared(), lambda n: make_agent_env(Crowd(ACTIONS[kind], vandal)))
        rollout = runner.sample(num_timesteps=8)["default_policy"].clone()
        runs[vandal] = rollout.columns, str(runner.get_open())
    assert all(same(column, runs[True][0][name]) for name, column in runs[False][0].items())
    assert runs[False][1] == runs[True][1]


class OneBuffer(gym.vector.VectorEnv):
    """A vector env with one buffer for everything, that resets in the same step."""

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
    num_envs = 2
    single_observation_space, single_action_space = S.Box(-9, 9, (2,)), S.MultiDiscrete([3, 3])

    def __init__(self):
        self.rows, self.last, self.t = np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32), 0

    def reset(self, *, seed=None, options=None):
        return self.rows, {}

    def step(self, actions):
        actions += 1
        self.t += 1
        self.last[:] = self.t
        final = np.array([*self.last, None], object)[:2]
        cut = np.full(2, self.t % 2 == 0)
        return self.rows, np.ones(2), np.zeros(2, bool), cut, {"final_obs": final, "_final_obs": cut}


def test_a_vector_env_may_have_one_buffer_and_change_its_actions():
    env = GymVectorEnv(OneBuffer())
    rows, actions, finals = np.zeros((2, 2), np.float32), np.ones((2, 2), np.int64), []
    env.reset([1, 2], rows)
    for _ in range(4):
        finals += env.step(actions, rows, np.zeros(2, np.float32), np.zeros(2, bool), np.zeros(2, bool))
    assert actions.tolist() == [[1, 1], [1, 1]]
    assert [final.tolist() for _, final in finals] == [[2, 2], [2, 2], [4, 4], [4, 4]]


def test_one_object_is_not_two_envs():
    env = Vandal(ACTIONS["discrete"])
    wrapped = gym.wrappers.TimeLimit(env, 3)
    config = ACConfig().env_runners(num_envs_per_env_runner=2).environment(lambda: env)
    for function in (lambda: env, iter([env, wrapped]).__next__):
        with pytest.raises(EnvError, match=r"envs 0 and 1 .*one and the same object.*lambda: MyEnv\(\)"):
            EnvRunner(config.copy(copy_frozen=False).environment(function).prepared())
    EnvRunner(config.env_runners(num_envs_per_env_runner=1).prepared()).sample(num_timesteps=8)
    crowd = Crowd(ACTIONS["discrete"], vandal=False)
    config = ACConfig().environment(lambda: None).env_runners(num_envs_per_env_runner=2)
    with pytest.raises(EnvError, match="one and the same object"):
        MultiAgentEnvRunner(config.prepared(), lambda n: make_agent_env(crowd))
