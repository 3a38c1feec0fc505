"""Choices that there are not, NaN and infinity never leave a runner: whole arrays are looked at, once a rollout."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from any_space import any_space
from gymnasium import spaces as S
from hypothesis import given, settings
from hypothesis import strategies as st

from actor_critic import ACConfig
from rlkit_core.data.nested import leaves, storage
from rlkit_core.envs import EnvRunner
from rlkit_core.envs.checks.leaves import LeafChecks
from rlkit_core.envs.checks.returned import NoChoiceError
from rlkit_core.envs.checks.rollouts import RolloutChecks
from rlkit_core.envs.multi_agent.make import make_agent_env
from rlkit_core.envs.multi_agent.runner import MultiAgentEnvRunner
from rlkit_core.envs.vector import row_writer
from rlkit_core.errors import EnvError, NonFiniteError
from rlkit_core.spaces import flat_leaves
from rlkit_core.testing import MultiAgentEnv

SPACES = {
    "discrete": (S.Discrete(3), 1, 3),
    "below": (S.Discrete(3), 1, -1),
    "begins at -1": (S.Discrete(3, start=-1), 1, 2),
    "below -1": (S.Discrete(3, start=-1), -1, -2),
    "narrow": (S.Discrete(3, dtype=np.int32), 1, 5),
    "several": (S.MultiDiscrete([3, 5]), np.array([2, 4]), np.array([3, 4])),
    "several that begin": (S.MultiDiscrete([3, 5], start=[1, -1]), np.array([1, -1]), np.array([0, -1])),
    "a grid": (S.MultiDiscrete([[3, 5], [2, 2]]), np.ones((2, 2), np.int64), np.array([[1, 1], [2, 1]])),
    "bits": (S.MultiBinary(3), np.ones(3, np.int8), np.array([0, 7, 0], np.int8)),
    "grid of bits": (S.MultiBinary([2, 2]), np.ones((2, 2), np.int8), np.full((2, 2), -1, np.int8)),
    "nan": (S.Box(-9, 9, (2,)), np.ones(2, np.float32), np.array([0, np.nan], np.float32)),
    "infinite": (S.Box(-9, 9, (1,), np.float16), np.ones(1, np.float16), np.array([-np.inf], np.float16)),
}


class Strays(gym.Env):
    """Is in its space but after step ``at``, in a part of its observation; perhaps in its second episode only."""

    action_space = S.Discrete(2)

    def __init__(self, kind, at, nested=False, end=False):
        space, self.good, self.bad = SPACES[kind]
        self.at, self.end, self.nested = at, end, nested
        self.begun, self.t = 0, 0
        self.observation_space = S.Dict(x=S.Tuple([S.Discrete(2), space]), y=S.Box(-1, 1)) if nested else space

    def _show(self, value):
        return {"x": (1, value), "y": np.zeros(1, np.float32)} if self.nested else value

    def reset(self, *, seed=None, options=None):
        self.begun += 1
        return self._show(self.bad if self.at == 0 else self.good), {}

    def step(self, action):
        self.t += 1
        bad = self.t == self.at
        return self._show(self.bad if bad else self.good), 1.0, False, self.end and (bad or self.t == 2), {}


def sample(kind, at, steps=100, restarts=False, mode="sync", **how):
    config = ACConfig().environment(Strays, env_config={"kind": kind, "at": at, **how})
    config.env_runners(num_envs_per_env_runner=2, gym_env_vectorize_mode=mode).debugging(seed=1)
    config.fault_tolerance(restart_failed_sub_environments=restarts)
    runner = EnvRunner(config.rl_module(model_config={"fcnet_hiddens": [4], "fusionnet_hiddens": [4]}).prepared())
    return runner.sample(num_timesteps=2 * steps)["default_policy"]


def error_for(kind):
    return NonFiniteError if kind in ("nan", "infinite") else EnvError


@pytest.mark.parametrize("kind", SPACES)
def test_it_is_told_of_with_env_and_step(kind):
    with pytest.raises(error_for(kind), match=r"(?s)env 0 of runner 0 .* at step 69 of this rollout, after raw action"):
        sample(kind, 70)


@pytest.mark.parametrize("kind", ["below", "several", "bits", "nan"])
def test_leaves_are_named_and_ends_and_resets_too(kind):
    leaf = r"observation 'x\.1'"
    with pytest.raises(error_for(kind), match=leaf + r".* at step 6 of this rollout"):
        sample(kind, 7, nested=True)
    with pytest.raises(error_for(kind), match=leaf + r".* at step 6 of this rollout"):
        sample(kind, 7, nested=True, end=True)
    with pytest.raises(error_for(kind), match=leaf if kind == "nan" else "at a reset with seed .*'x' at 1"):
        sample(kind, 0, nested=True)


@pytest.mark.parametrize("kind", ["discrete", "bits", "nan"])
@pytest.mark.parametrize("end", [False, True])
def test_an_env_that_strays_begins_anew(kind, end):
    rollout = sample(kind, 70, steps=100, restarts=True, end=end)
    assert rollout.loss_mask is not None
    assert not rollout.loss_mask[69].any()
    for check, leaf in zip(LeafChecks(SPACES[kind][0]).each, leaves(rollout["obs"]), strict=True):
        assert check.holds(leaf.numpy())
    assert rollout.final_obs is None or all(check.holds(rollout.final_obs.numpy()) for check in [check])


class Agents(MultiAgentEnv):
    """One agent that strays as :class:`Strays` does."""

    possible_agents = ["a"]

    def __init__(self, config):
        self.env = Strays(**config)
        self.observation_spaces, self.action_spaces = {"a": self.env.observation_space}, {"a": self.env.action_space}

    def reset(self, *, seed=None, options=None):
        return {"a": self.env.reset(seed=seed)[0]}, {}

    def step(self, actions):
        seen, reward, terminated, truncated, _ = self.env.step(actions["a"])
        return {"a": seen}, {"a": reward}, {"a": terminated}, {"a": truncated}, {}


@pytest.mark.parametrize(("kind", "end"), [("below", False), ("several", False), ("bits", False), ("nan", True)])
def test_agents_do_not_stray_either(kind, end):
    config = ACConfig().environment(Agents, env_config={"kind": kind, "at": 5, "end": end, "nested": True})
    config.fault_tolerance(restart_failed_sub_environments=False).env_runners(num_envs_per_env_runner=1)
    runner = MultiAgentEnvRunner(config.prepared(), lambda n: make_agent_env(Agents, config.env_config))
    what = "last observation" if end else "observation"
    says = rf"(?s)env 0 of .*agent 'a' .*{what} 'x\.1'.* at step {3 if end else 5}"
    with pytest.raises(error_for(kind), match=says):
        runner.sample(num_timesteps=9)


@settings(max_examples=60, deadline=None)
@given(space=any_space(max_leaves=4), seed=st.integers(0, 99), data=st.data())
def test_checks_say_what_the_spaces_say(space, seed, data):
    space.seed(seed)
    rows = storage(space, (3, 2))
    flat = [leaf.reshape(6, *leaf.shape[2:]) for leaf in leaves(rows)]
    write = row_writer(space)
    for t in range(3):
        for n in range(2):
            one = space.sample()
            write(_at(rows, t), n, one)
    which = data.draw(st.integers(0, len(flat) - 1))
    row, change = data.draw(st.integers(0, 5)), data.draw(st.integers(-6, 6))
    flat[which][row] += change
    for (_, leaf), check, values in zip(flat_leaves(space), LeafChecks(space).each, flat, strict=True):
        if check is None:
            continue
        if isinstance(leaf, S.Box):
            assert check.holds(values.reshape(3, 2, *values.shape[1:]))
            continue
        inside = [leaf.contains(leaf.dtype.type(v) if isinstance(leaf, S.Discrete) else v) for v in values]
        assert check.holds(values.reshape(3, 2, *values.shape[1:])) == all(inside)
        assert [check.problem(v) == "" for v in values] == inside


def _at(rows, t):
    if isinstance(rows, dict):
        return {key: _at(part, t) for key, part in rows.items()}
    return tuple(_at(part, t) for part in rows) if isinstance(rows, tuple) else rows[t]


@pytest.mark.covers("error:NoChoiceError")
def test_what_is_no_choice_and_what_is_not_finite_have_an_error_each():
    checks = RolloutChecks("lab/Env-v0", 3, 2, S.Dict({"a": S.Discrete(3), "b": S.Box(-1.0, 1.0, (1,))}))
    good = {"a": np.array([0, 2]), "b": np.zeros((2, 1), np.float32)}
    assert checks.at_reset(good, 1) is None
    strayed = checks.at_reset({**good, "a": np.array([0, 3])}, 1)
    assert isinstance(strayed, NoChoiceError)
    assert "env 1 of runner 3 (lab/Env-v0)" in str(strayed)
    assert "declare a larger space" in str(strayed)
    assert isinstance(checks.at_reset({**good, "b": np.full((2, 1), np.nan)}, 1), NonFiniteError)
