"""What an env raises reaches the user in its own type, as an EnvError that says where and when it was."""

from __future__ import annotations

import copy
import errno
import json
import pickle
import threading
import traceback

import attrs
import gymnasium as gym
import numpy as np
import pytest

from actor_critic import ACConfig
from rlkit_core.envs import EnvRunnerGroup, MultiAgentEnv
from rlkit_core.envs.faults.own_type import retold, told
from rlkit_core.errors import ConfigError, EnvError, RLKitError


class Broken(Exception):
    """A simulator's own, which takes other arguments than it keeps."""

    def __init__(self, code, *, part):
        super().__init__(f"{part} broke")
        self.code, self.part = code, part

    def __str__(self):
        return f"<{self.code}>"


@attrs.frozen
class Frozen(Exception):
    code: int


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code):
        self.code = code


class Picky(Exception):
    def __new__(cls, first, second):
        return super().__new__(cls, first, second)


class Closed(Exception):
    def __init_subclass__(cls):
        raise RuntimeError("nobody derives from me")


def raised(error):
    try:
        raise error
    except Exception as caught:
        return caught


ALL = [
    ValueError("no"),
    KeyError("no"),
    RuntimeError("no"),
    AssertionError("no"),
    OSError(errno.ENOENT, "gone", "map.bin"),
    TimeoutError("no"),
    ModuleNotFoundError("no", name="simulator"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
    json.JSONDecodeError("no", "{", 1),
    ConfigError("no"),
    Broken(7, part="wheel"),
    Frozen(3),
    Slotted(4),
    Picky(1, 2),
]


@pytest.mark.parametrize("cause", ALL, ids=lambda cause: type(cause).__name__)
def test_it_is_both(cause):
    for error in (told("env 0: what", raised(cause)), retold(told("what", cause), "env 0: what")):
        assert isinstance(error, EnvError)
        assert isinstance(error, type(cause))
        assert str(error) == "env 0: what"
        assert error.__cause__ is cause
        for there in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(there) is type(error)
            assert str(there) == "env 0: what"
            for name in ("errno", "filename", "name", "reason", "pos", "code", "part"):
                assert getattr(there, name, None) == getattr(cause, name, None), name
    assert "".join(traceback.format_exception(error)).count("env 0: what") == 1


@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration, Closed])
def test_where_it_cannot_be_both_it_is_an_env_error(kind):
    cause = kind(1, 2)
    error = told("what", cause)
    assert type(error) is EnvError
    assert error.__cause__ is cause


def test_what_is_an_env_error_anyway_stays_one():
    class Own(EnvError):
        pass

    for cause in (Own("x"), RLKitError("x"), RuntimeError("x"), Exception("x")):
        assert type(told("what", cause)) is EnvError


def test_attributes_that_cannot_be_sent_stay_behind():
    cause = Broken(7, part="wheel")
    cause.lock = threading.Lock()
    error = told("what", cause)
    assert error.lock is cause.lock
    there = pickle.loads(pickle.dumps(error))
    assert isinstance(there, Broken)
    assert (there.code, hasattr(there, "lock")) == (7, False)


class Wheel(gym.Env):
    observation_space = gym.spaces.Box(0, 10, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        if self.t == 3:
            raise Broken(7, part="wheel")
        return np.full(1, self.t, np.float32), 1.0, self.t == 10, False, {}


class Wheels(MultiAgentEnv):
    possible_agents = ("a",)

    def __init__(self, config=None):
        super().__init__()
        self.one = Wheel()
        self.observation_spaces = {"a": Wheel.observation_space}
        self.action_spaces = {"a": Wheel.action_space}

    def reset(self, *, seed=None, options=None):
        return {"a": self.one.reset(seed=seed)[0]}, {}

    def step(self, action_dict):
        observation, reward, over, _, _ = self.one.step(action_dict["a"])
        return {"a": observation}, {"a": reward}, {"__all__": over}, {"__all__": False}, {}


@pytest.mark.parametrize("restarts", [True, False], ids=["repeated", "at once"])
@pytest.mark.parametrize("env", [Wheel, Wheels])
def test_training_raises_what_the_env_raised(env, restarts):
    config = ACConfig().environment(env).env_runners(num_envs_per_env_runner=2).debugging(seed=1)
    config.rl_module(model_config={"fcnet_hiddens": [4]}).fault_tolerance(restart_failed_sub_environments=restarts)
    group = EnvRunnerGroup(config.prepared())
    with pytest.raises(Broken) as caught:
        group.sample(num_timesteps=40)
    error = caught.value
    assert isinstance(error, EnvError)
    assert (error.code, error.part) == (7, "wheel")
    assert all(part in str(error) for part in ("env 0", "Broken", "<7>", "action", "seed", "step", "runner 0"))
    assert ("in a row" in str(error)) is restarts
    frames = traceback.extract_tb(error.__cause__.__traceback__)
    cause = error.__cause__
    while cause.__cause__ is not None:
        cause = cause.__cause__
    assert type(cause) is Broken
    frames = traceback.extract_tb(cause.__traceback__)
    assert (frames[-1].name, frames[-1].filename) == ("step", __file__)
    group.stop()
