"""``check_env`` names what a trainer would trip over, and nothing of what is well."""

from __future__ import annotations

import random
import time
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces as S

from rlkit_core.errors import EnvError
from rlkit_core.testing import MultiAgentEnv, check_env


class Good(gym.Env):
    """Walks on a line; nothing is wrong with it."""

    observation_space, action_space = S.Box(-50, 50, (2,), np.float64), S.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1, 1, 2)
        self.t = 0
        return self.state.copy(), {}

    def step(self, action):
        self.state[0] += float(action[0])
        self.t += 1
        return self.state.copy(), -abs(self.state[0]), bool(abs(self.state[0]) > 4), self.t == 30, {}


class ChangesActions(Good):
    def step(self, action):
        action /= 2
        return super().step(action)


class OneBuffer(Good):
    buffer = None

    def step(self, action):
        seen, *rest = super().step(action)
        if self.buffer is None:
            self.buffer = np.zeros(2)
        self.buffer[:] = seen
        return self.buffer, *rest


class ShowsItself(Good):
    def step(self, action):
        return self.state, *super().step(action)[1:]


class KeepsActions(Good):
    def step(self, action):
        self.state[1] = getattr(self, "last", np.zeros(1))[0]
        self.last = action
        return super().step(action)

    def reset(self, **how):
        self.last = np.zeros(1)
        return super().reset(**how)


class DrawsGlobally(Good):
    def step(self, action):
        self.state[1] = np.random.rand()
        return super().step(action)


class DrawsFromPython(Good):
    def reset(self, **how):
        super().reset(**how)
        self.state[0] = random.random()
        return self.state.copy(), {}


class DrawsUnseen(Good):
    def step(self, action):
        random.random()
        return super().step(action)


class OwnGenerator(Good):
    def step(self, action):
        self.state[1] = np.random.default_rng().random()
        return super().step(action)


class LeftOver(Good):
    count = 0

    def step(self, action):
        self.count += 1
        self.state[1] = self.count / 100
        return super().step(action)


class OfTheClass(Good):
    steps: list[int] = []

    def reset(self, **how):
        self.steps.clear()
        return super().reset(**how)

    def step(self, action):
        self.steps.append(1)
        self.state[1] = len(self.steps) / 10
        return super().step(action)


class SameEpisode(Good):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=0 if seed is None else seed)


class Endless(Good):
    def step(self, action):
        seen, reward, _, _, info = super().step(action * 0.01)
        return seen, reward, False, False, info


class NoLimit(Good):
    def step(self, action):
        return *super().step(action)[:3], False, {}


class LimitTerminates(Good):
    def step(self, action):
        seen, reward, *_ = super().step(action * 0.01)
        return seen, reward, self.t == 20, False, {}


class NoReward(Good):
    def step(self, action):
        seen, _, *rest = super().step(action)
        return seen, 0.0, *rest


class LargeReward(Good):
    def step(self, action):
        seen, reward, *rest = super().step(action)
        return seen, 1e5 * reward, *rest


class TinyReward(Good):
    def step(self, action):
        seen, reward, *rest = super().step(action)
        return seen, 1e-6 * reward, *rest


class NothingToLearn(Good):
    def step(self, action):
        seen, *_ = super().step(action * 0.01)
        return seen, 1.0, False, self.t == 20, {}


class Deaf(Good):
    def step(self, action):
        return super().step(action * 0 + 0.1)


class Slow(Good):
    def step(self, action):
        time.sleep(0.02)
        return super().step(action)


class Outside(Good):
    observation_space = S.Box(-1, 1, (2,), np.float64)


class MoreKeys(Good):
    observation_space = S.Dict(x=S.Box(-50, 50, (2,), np.float64))

    def reset(self, **how):
        return {"x": super().reset(**how)[0], "action_mask": np.ones(2)}, {}

    def step(self, action):
        seen, *rest = super().step(action)
        return {"x": seen, "action_mask": np.ones(2)}, *rest


class NoSeed(Good):
    def reset(self):
        return super().reset()


class OldStep(Good):
    def step(self, action):
        seen, reward, ended, _, info = super().step(action)
        return seen, reward, ended, info


class Raises(Good):
    def step(self, action):
        if self.t == 7:
            raise ZeroDivisionError("no wheels")
        return super().step(action)


class NaN(Good):
    def step(self, action):
        seen, *rest = super().step(action)
        return seen * np.nan if self.t == 5 else seen, *rest


class NaNReward(Good):
    def step(self, action):
        seen, reward, *rest = super().step(action)
        return seen, reward if self.t < 5 else np.inf, *rest


class Unserved(Good):
    observation_space = S.Dict(x=S.Box(-50, 50, (2,), np.float64), text=S.Text(3))

    def reset(self, **how):
        return {"x": super().reset(**how)[0], "text": "abc"}, {}

    def step(self, action):
        seen, *rest = super().step(action)
        return {"x": seen, "text": "abc"}, *rest


class NoSpaces(Good):
    observation_space = None


class Wide(Good):
    observation_space, action_space = S.Box(-1e4, 1e4, (2,), np.float64), S.Box(-np.inf, np.inf, (1,))

    def reset(self, **how):
        super().reset(**how)
        self.state[1] = 1234.0
        return self.state.copy(), {}


#: the env, the kind and level of what is found, parts of the text
BROKEN = [
    (ChangesActions, "action changed", "warning", "at step 0|np.array(action)"),
    (OneBuffer, "shared buffer", "warning", "at step 1|copy()"),
    (ShowsItself, "shared memory", "warning", "from step|self.state.copy()"),
    (KeepsActions, "shared memory", "warning", "from step 1 on|copies of actions"),
    (DrawsGlobally, "randomness", "warning", "from step 0 on|draws from np.random|self.np_random"),
    (DrawsFromPython, "randomness", "warning", "from the first reset on|draws from random"),
    (DrawsUnseen, "randomness", "warning", "draws from random, which other code"),
    (OwnGenerator, "randomness", "warning", "from step 0 on|self.np_random"),
    (LeftOver, "randomness", "warning", "left over from the episodes before|let reset() put back"),
    (OfTheClass, "shared state", "error", "another one is stepped beside it|keep state in self"),
    (SameEpisode, "resets", "warning", "the same episode each time"),
    (Endless, "time limit", "warning", "no episode ended in 90 steps, and no time limit is known|TimeLimit(env, 1000)"),
    (NoLimit, "time limit", "note", "there is no time limit"),
    (LimitTerminates, "truncation", "warning", "terminated after 20 steps|truncated=True"),
    (NoReward, "rewards", "warning", "every reward was 0 in 90 steps"),
    (LargeReward, "rewards", "warning", "as large as"),
    (TinyReward, "rewards", "warning", "no reward was larger"),
    (NothingToLearn, "rewards", "warning", "nothing to learn"),
    (Deaf, "actions", "warning", "other actions change nothing"),
    (Slow, "speed", "warning", "ms on the mean|hours|async"),
    (Outside, "bounds", "warning", "outside of its Box|declare the bounds"),
    (MoreKeys, "extra keys", "warning", "action_mask|declare it"),
    (NoSeed, "raises", "error", "reset(seed=0) raised TypeError|def reset(self, *, seed=None"),
    (OldStep, "contract", "error", "tuple of 4|two flags"),
    (Raises, "raises", "error", "raised ZeroDivisionError at step 7: no wheels"),
    (NaN, "finite", "error", "non-finite observation|at step 4"),
    (NaNReward, "finite", "error", "the reward inf at step 4"),
    (Unserved, "spaces", "error", "Text"),
    (NoSpaces, "spaces", "error", "observation_space is|in __init__"),
    (Wide, "scale", "note", "1.23e+03|normalize_observations"),
    (Wide, "action bounds", "note", "no finite bounds"),
]


@pytest.mark.parametrize(("env", "kind", "level", "says"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_wrong_is_found_and_nothing_else(env, kind, level, says):
    report = check_env(env, steps=12 if env is Slow else 90, strict=False)
    found = {one.kind: one for one in report.findings}
    assert kind in found, str(report)
    assert found[kind].level == level
    assert all(part in str(found[kind]) for part in says.split("|")), str(found[kind])
    assert found.keys() <= {kind, *ALONG.get(env, ())}, str(report)


#: what comes along with it
ALONG = {
    ShowsItself: {"shared buffer"},
    Deaf: {"rewards"},
    Wide: {"scale", "action bounds"},
    Slow: {"time limit"},
    OneBuffer: {"shared memory"},
    LimitTerminates: {"time limit"},
}


@pytest.mark.parametrize("env", [Good, Good(), lambda: Good(), "CartPole-v1", "Acrobot-v1"])
def test_what_is_well_is_left_alone(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = check_env(env, steps=90)
    assert report.findings == (), str(report)
    assert report.steps == 90
    assert report.steps_per_second > 100
    assert str(report).endswith("nothing that a trainer would trip over")


def test_errors_are_raised_and_warnings_warned_of():
    with pytest.raises(EnvError, match=r"(?s)Raises.* cannot be trained in:\nerror: .*no wheels.*\n +fix: "):
        check_env(Raises)
    with pytest.warns(UserWarning, match=r"(?s)DrawsGlobally.*np\.random.*fix"):
        report = check_env(DrawsGlobally, steps=50)
    assert not report.errors
    one = Good()
    assert "shared state" in {one.kind for one in check_env(lambda: one, strict=False).errors}


def test_generators_are_put_back():
    before = np.random.get_state()[1].tobytes(), random.getstate(), torch.get_rng_state().tolist()
    check_env(DrawsGlobally, steps=50, strict=False)
    check_env(DrawsFromPython, steps=50, strict=False)
    assert before == (np.random.get_state()[1].tobytes(), random.getstate(), torch.get_rng_state().tolist())


def test_config_wrappers_and_masks():
    class Masked(gym.Env):
        observation_space = S.Dict(x=S.Box(-1, 1), action_mask=S.MultiBinary(3))
        action_space = S.Discrete(3)

        def __init__(self, legal=0):
            self.legal = legal

        def _show(self):
            mask = np.zeros(3, np.int8)
            mask[self.legal] = 1
            return {"x": np.zeros(1, np.float32), "action_mask": mask}

        def reset(self, *, seed=None, options=None):
            return self._show(), {}

        def step(self, action):
            assert action == self.legal
            return self._show(), 1.0, False, False, {}

    wrappers = [{"name": "gymnasium.wrappers:TimeLimit", "max_episode_steps": 7}]
    report = check_env(Masked, {"legal": 2}, wrappers, steps=50, strict=False)
    assert not report.errors
    assert report.episodes == 7
    assert "time limit" not in {one.kind for one in report.findings}


def test_several_agents_are_refused_in_words():
    class Agents(MultiAgentEnv):
        possible_agents = ["a"]

    with pytest.raises(EnvError, match=r"check_env plays one env with one agent, and .* several agents"):
        check_env(Agents)
