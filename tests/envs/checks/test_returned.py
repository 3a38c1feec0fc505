"""What comes of an env's first reset, step and end is looked at closely, in every way of stepping."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from any_space import any_space
from gymnasium import spaces as S
from hypothesis import given, settings
from hypothesis import strategies as st

from actor_critic import ACConfig
from rlkit_core.data.nested import storage
from rlkit_core.envs import EnvRunner
from rlkit_core.envs.checks.misfits import misfit
from rlkit_core.envs.checks.returned import ReturnedError, check_step
from rlkit_core.envs.vector import row_writer
from rlkit_core.errors import EnvError
from rlkit_core.spaces import map_space

FLOATS, BYTES = S.Box(-9, 9, (3,)), S.Box(0, 255, (3,), np.uint8)
PARTS = S.Dict(a=FLOATS, b=S.Tuple([S.Discrete(3), BYTES]))
GOOD = {"a": np.ones(3, np.float32), "b": (1, np.ones(3, np.uint8))}
ROW = np.ones(3, np.float32)

#: space, an observation that does not fit, what the error says of it
MISFITS = {
    "float for bytes": (BYTES, np.full(3, 0.5), r"uint8\), and is an array of shape \(3,\) and dtype float64"),
    "float of one size": (BYTES, np.ones(3, np.float32), r"\.astype\(np\.uint8\)"),
    "300": (BYTES, np.array([300, 1, 2]), r"\[300, 1, 2\].*\.astype\(np\.uint8\)"),
    "300 in a list": (BYTES, [300, 1, 2], r"list: \[300, 1, 2\]"),
    "-1 of the right width": (BYTES, np.array([-1, 1, 2], np.int8), r"dtype int8"),
    "200 for int8": (S.Box(-9, 9, (1,), np.int8), np.array([200]), r"dtype int64, \[200\]"),
    "no axis": (FLOATS, np.float32(1), r"shape \(\).*return shape \(3,\)"),
    "one number": (FLOATS, np.ones(1, np.float32), r"shape \(1,\)"),
    "an axis too many": (FLOATS, np.ones((1, 3), np.float32), r"return \.reshape\(\(3,\)\) of it"),
    "text": (FLOATS, "abc", "str: 'abc'"),
    "nothing": (FLOATS, None, "NoneType: None"),
    "ragged": (FLOATS, [[1], [1, 2], 3], "which is no array"),
    "complex": (FLOATS, np.ones(3, complex), "complex128"),
    "no dict": (PARTS, ROW, r"should be a dict with \['a', 'b'\]"),
    "a part is missing": (PARTS, {"a": ROW}, r"should have 'b', and is a dict with \['a'\]"),
    "deep": (PARTS, {**GOOD, "b": (1, ROW)}, r"it at 'b' at 1 should be"),
    "no choice": (PARTS, {**GOOD, "b": (3, GOOD["b"][1])}, r"at 'b' at 0 should be in Discrete\(3\), and is 3"),
    "half a choice": (PARTS, {**GOOD, "b": (1.5, GOOD["b"][1])}, r"at 'b' at 0 should be"),
    "a part too many": (PARTS, {**GOOD, "b": (1, GOOD["b"][1], 2)}, r"should be a tuple of 2"),
    "7 is no bit": (S.MultiBinary(2), np.array([0, 7]), r"should be in MultiBinary\(2\)"),
    "text for text": (S.Dict(a=FLOATS, t=S.Text(3)), {"a": ROW, "t": 3}, r"at 't' should be a Text"),
}
#: what fits although the space would not say that it contains it
FITS = [
    (FLOATS, [1, 2.5, 3]),
    (FLOATS, np.arange(3)),
    (FLOATS, np.full(3, 1e30)),
    (BYTES, [0, 255, 3]),
    (BYTES, np.ones(3, bool)),
    (S.Discrete(3), np.uint8(2)),
    (S.Discrete(3), np.array(2)),
    (S.Discrete(3, start=-1), -1),
    (S.MultiBinary(2), np.ones(2, np.int64)),
    (S.MultiDiscrete([2, 3]), (1, 2)),
    (S.Box(-1, 1, ()), 0.5),
    (S.Box(0, 1, (2,), bool), np.ones(2, bool)),
    (S.Box(-9, 9, (2,), np.float16), np.ones(2)),
    (PARTS, {**GOOD, "more": 3}),
    (PARTS, {**GOOD, "b": [1, GOOD["b"][1]]}),
]


class Says(gym.Env):
    """Returns what it is told to: ``reset``, ``step`` and, at an episode's end, ``end``, as tuples or functions."""

    def __init__(self, space=FLOATS, obs=ROW, **told):
        self.observation_space, self.action_space = space, S.Discrete(2)
        self.told = {"reset": (obs, {}), "step": (obs, 1.0, False, False, {}), "end": (obs, 1.0, False, True, {})}
        self.told |= told
        self.t = 0

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self.told["reset"]

    def step(self, action):
        self.t += 1
        return self.told["end" if self.t % 3 == 0 else "step"]


def sample(mode="sync", restarts=True, steps=8, **told):
    config = ACConfig().environment(Says, env_config=told)
    config.env_runners(num_envs_per_env_runner=2, gym_env_vectorize_mode=mode).debugging(seed=1)
    config.fault_tolerance(restart_failed_sub_environments=restarts)
    runner = EnvRunner(config.rl_module(model_config={"fcnet_hiddens": [4]}).prepared())
    try:
        return runner.sample(num_timesteps=2 * steps)["default_policy"].clone(), runner
    finally:
        runner.stop()


@pytest.mark.parametrize("kind", MISFITS)
def test_misfits(kind):
    space, observation, says = MISFITS[kind]
    problem = misfit(space, observation)
    with pytest.raises(ReturnedError, match=says):
        check_step((observation, 1.0, False, False, {}), space)
    assert problem is not None
    assert "should" in problem


@pytest.mark.parametrize(("space", "observation"), FITS, ids=str)
def test_what_fits_is_what_can_be_written_down(space, observation):
    assert misfit(space, observation) is None
    row_writer(space)(storage(space, (2,)), 1, observation)


@settings(max_examples=60, deadline=None)
@given(space=any_space(max_leaves=5), data=st.data())
def test_samples_fit_and_nothing_with_another_shape(space, data):
    space.seed(data.draw(st.integers(0, 99)))
    sampled = space.sample()
    assert misfit(space, sampled) is None
    wider = map_space(lambda leaf, value: np.asarray(value)[None], space, sampled)
    assert misfit(space, wider) is not None
    as_floats = map_space(lambda leaf, value: np.asarray(value) + 0.5, space, sampled)
    only_floats = all(kind == "f" for kind in kinds(space))
    assert (misfit(space, as_floats) is None) == only_floats


def kinds(space):
    found = []
    map_space(lambda leaf: found.append(np.dtype(leaf.dtype).kind), space)
    return found


#: what is told, what the error says
BAD = {
    "no info": ({"reset": ROW}, r"reset\(\) should return \(observation, info\).*array of shape \(3,\).*return obs"),
    "a pair of observations": ({"reset": (ROW, ROW)}, r"reset\(\) should return"),
    "a list": ({"reset": [ROW, {}]}, r"reset\(\) should return .*list"),
    "first observation": ({"reset": (np.ones(2, np.float32), {})}, "at a reset with seed .*does not fit its observ"),
    "old step": ({"step": (ROW, 1.0, False, {})}, r"step\(\) should return .*tuple of 4: .*two flags"),
    "swapped": ({"step": (ROW, 1.0, False, {}, False)}, r"truncated should be True or False, and is a dict"),
    "reward last": ({"step": (ROW, False, 1.0, False, {})}, r"terminated should be True or False, and is a float: 1.0"),
    "a count": ({"step": (ROW, 1.0, False, 1, {})}, r"truncated should be .*int: 1; return bool\(truncated\)"),
    "no flag": ({"step": (ROW, 1.0, None, False, {})}, r"terminated should be"),
    "rewards": ({"step": (ROW, np.ones(2), False, False, {})}, r"reward should be a number, .*shape \(2,\)"),
    "flags": ({"step": (ROW, 1.0, np.zeros(2, bool), False, {})}, r"terminated should be .*shape \(2,\)"),
    "no reward": ({"step": (ROW, None, False, False, {})}, r"reward should be a number, and is a NoneType"),
    "text": ({"step": (ROW, "1", False, False, {})}, r"reward should be a number, and is a str: '1'"),
    "text for info": ({"step": (ROW, 1.0, False, False, "x")}, r"info should be a dict"),
    "observation": ({"step": (np.ones((1, 3), np.float32), 1.0, False, False, {})}, r"action .* does not fit its obs"),
    "last": ({"end": (None, 1.0, True, False, {})}, r"the last observation of an episode does not fit"),
    "last number": ({"end": (np.float32(1), 1.0, False, True, {})}, r"the last observation of an episode does not"),
}


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
@pytest.mark.parametrize("kind", BAD)
def test_it_is_an_error_at_once(kind, mode):
    told, says = BAD[kind]
    with pytest.raises(EnvError, match=f"env 0 .*{says}") as caught:
        sample(mode, **told)
    assert "in a row" not in str(caught.value), "it is not tried again"


@pytest.mark.parametrize("kind", ["no info", "swapped", "last"])
def test_in_processes_too(kind):
    told, says = BAD[kind]
    with pytest.raises(EnvError, match=f"env 0 .*{says}"):
        sample("async", **told)


ARRAYS = [
    (ROW, np.ones(1), np.zeros(1, bool), np.zeros((1, 1), bool), {}),
    (ROW, np.float64(1), np.bool_(False), np.array(False), None),
    (ROW, True, False, np.array(False), {}),
]


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync", "async"])
@pytest.mark.parametrize("step", ARRAYS, ids=["arrays", "scalars", "bool"])
def test_arrays_of_one_number_will_do(step, mode):
    if mode == "async" and step is not ARRAYS[0]:
        pytest.skip("the same code")
    end = (*step[:3], np.ones(np.shape(step[3]), bool), {})
    plain, _ = sample("sync")
    arrays, _ = sample(mode, step=step, end=end)
    for name in ("obs", "actions", "rewards", "terminateds", "truncateds"):
        assert plain[name].equal(arrays[name]), name
        assert plain[name].dtype == arrays[name].dtype


#: the second step, what the error says of it; "" where it will do
LATER = {
    "rewards": ((ROW, np.ones(2), False, False, {}), r"reward should be a number, and is an array of shape \(2,\)"),
    "flags": ((ROW, 1.0, np.zeros(2, bool), False, {}), "terminated should be True or False"),
    "old step": ((ROW, 1.0, False, {}), "tuple of 4"),
    "nothing": (None, r"step\(\) should return .* gave a NoneType"),
    "observation": ((np.ones(2, np.float32), 1.0, False, False, {}), "does not fit its observation_space"),
    "array of one": ((ROW, np.ones(1), np.zeros(1, bool), False, {}), ""),
}


class Later(Says):
    def __init__(self, kind):
        super().__init__()
        self.third = LATER[kind][0]

    def step(self, action):
        seen = super().step(action)
        return self.third if self.t == 2 else seen


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync", "async"])
@pytest.mark.parametrize("kind", LATER)
def test_later_results_that_cannot_be_taken_apart_are_told_of_too(kind, mode):
    says = LATER[kind][1]
    config = ACConfig()
    config.env_runners(num_envs_per_env_runner=1, gym_env_vectorize_mode=mode).debugging(seed=1)
    config.fault_tolerance(restart_failed_sub_environments=False).rl_module(model_config={"fcnet_hiddens": [4]})
    runner = EnvRunner(config.environment(Later, env_config={"kind": kind}).prepared())
    try:
        if says:
            with pytest.raises(EnvError, match=rf"env 0 .*{says}"):
                runner.sample(num_timesteps=2)
        else:
            assert runner.sample(num_timesteps=3)["default_policy"]["rewards"].tolist() == [[1.0]] * 3
    finally:
        runner.stop()


def test_only_the_first_results_cost_anything():
    steps = []

    class Counted(Says):
        def step(self, action):
            steps.append(1)
            return super().step(action)

    config = ACConfig().environment(Counted).env_runners(num_envs_per_env_runner=2).prepared()
    runner = EnvRunner(config)
    own = [env.step for env in runner.env.envs]
    assert not any(one == other for one, other in zip(stepping(runner), own, strict=True))
    runner.sample(num_timesteps=4)
    assert stepping(runner) == own
    assert len(steps) == 4


def stepping(runner):
    """What is called for each env."""
    return vars(runner.env)["_steps"]
