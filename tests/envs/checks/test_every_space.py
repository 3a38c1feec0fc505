"""Every kind of space in every place: an iteration of training, a checkpoint, and the same actions from it."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces as S

from actor_critic import ACConfig
from rlkit_core import Algorithm, RLModule
from rlkit_core.errors import RLKitError
from rlkit_core.models import ObservationNormalizer
from rlkit_core.spaces import map_space, nested_map, space_from_json, space_to_json

INF = np.inf
OBSERVATIONS = {
    "number": S.Box(-1, 1, ()),
    "vector": S.Box(-1, 1, (3,)),
    "float64 at 1e9": S.Box(-INF, INF, (2,), np.float64),
    "unequal": S.Box(np.array([-INF, 0, -5], np.float32), np.array([1, INF, 500], np.float32)),
    "half": S.Box(-1, 1, (3,), np.float16),
    "bools": S.Box(0, 1, (3,), bool),
    "int64": S.Box(-(2**40), 2**40, (3,), np.int64),
    "uint16": S.Box(0, 65535, (12, 12), np.uint16),
    "bytes": S.Box(0, 255, (5,), np.uint8),
    "planes": S.Box(0, 1, (6, 6, 4), bool),
    "image": S.Box(0, 255, (20, 20, 3), np.uint8),
    "grid": S.Box(0, 255, (7, 7, 3), np.uint8),
    "small numbers": S.Box(0, 4, (5, 6), np.int32),
    "stack": S.Box(0, 255, (4, 20, 20, 3), np.uint8),
    "rank 5": S.Box(-1, 1, (2, 1, 2, 1, 2)),
    "choice": S.Discrete(4, start=-2),
    "narrow choice": S.Discrete(4, dtype=np.int32),
    "choices": S.MultiDiscrete([3, 2], start=[1, -1]),
    "grid of choices": S.MultiDiscrete([[3, 2], [2, 4]]),
    "bits": S.MultiBinary(3),
    "grid of bits": S.MultiBinary([2, 3]),
    "int keys": S.Dict({1: S.Box(-1, 1, (2,)), 0: S.Discrete(3)}),
    "dotted keys": S.Dict({"a.b": S.Box(-1, 1, ()), "a": S.Dict({"b": S.Box(-1, 1)})}),
    "deep": S.Tuple([S.Dict({2: S.Tuple([S.Box(-1, 1, ()), S.MultiBinary(2)])}), S.Box(0, 9, (4, 6, 6, 1), np.uint8)]),
}
ACTIONS = {
    "number": S.Box(-1, 1, ()),
    "matrix": S.Box(-2, 3, (2, 3)),
    "half-bounded": S.Box(np.array([-INF, 0], np.float32), np.array([1, INF], np.float32)),
    "float64": S.Box(-1e9, 1e9, (2,), np.float64),
    "choice": S.Discrete(3, start=5),
    "grid of choices": S.MultiDiscrete([[3, 2], [2, 4]], start=[[1, 0], [0, -1]]),
    "grid of bits": S.MultiBinary([2, 2]),
    "int keys": S.Dict({1: S.Discrete(3), 0: S.Tuple([S.Box(-1, 1, ()), S.MultiDiscrete([2, 2])])}),
}


class Anything(gym.Env):
    """Shows samples of a space (of the numbers around 1e9, where it is unbounded float64), takes actions of another."""

    def __init__(self, observation, action):
        self.observation_space, self.action_space = observation, action
        self.t = 0

    def _show(self):
        seen = self.observation_space.sample()
        if getattr(self.observation_space, "dtype", None) == np.float64:
            return 1e9 + seen
        return seen

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.observation_space.seed(seed)
        self.t = 0
        return self._show(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.t += 1
        return self._show(), float(self.t), self.t == 6, self.t == 5, {}


def copied(space):
    return space_from_json(space_to_json(space))


def config_for(observation, action, **model):
    config = ACConfig().environment(lambda: Anything(copied(observation), copied(action)))
    config.env_runners(num_envs_per_env_runner=2).debugging(seed=1)
    config.training(train_batch_size=16, minibatch_size=8, num_epochs=1)
    small = {"fcnet_hiddens": [4], "fusionnet_hiddens": [4], "conv_filters": [[2, 3, 2]]}
    return config.rl_module(model_config=small | model)


def train(tmp_path, observation, action, **model):
    algo = config_for(observation, action, **model).build_algo()
    losses = algo.train()["learners"]["default_policy"]
    assert np.isfinite(losses["total_loss"])
    algo.save_to_path(tmp_path / "saved")
    module = RLModule.from_checkpoint(tmp_path / "saved")
    env = Anything(copied(observation), action)
    seen = map_space(lambda _, value: np.asarray(value)[None], observation, env.reset(seed=7)[0])
    for explore in (False, True):
        acted = module.compute_actions(seen, explore=explore)[0]
        if not explore:
            again = algo.get_module().compute_actions(seen, explore=False)[0]
            assert str(nested_map(np.asarray, acted)) == str(nested_map(np.asarray, again))
        assert contains(action, nested_map(lambda batch: batch[0], acted)), acted
    algo.stop()
    return algo


def contains(space, value):
    """``space.contains``, of numbers for a Box without axes too."""
    if isinstance(space, S.Dict):
        return all(contains(child, value[key]) for key, child in space.spaces.items())
    if isinstance(space, S.Tuple):
        return all(contains(child, item) for child, item in zip(space.spaces, value, strict=True))
    return space.contains(np.asarray(value, space.dtype)[()] if isinstance(space, S.Discrete) else np.asarray(value))


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_observations(tmp_path, kind):
    floats = kind in ("vector", "unequal", "float64 at 1e9", "half", "number", "int keys", "deep")
    train(tmp_path, OBSERVATIONS[kind], S.Discrete(2), normalize_observations=floats)


@pytest.mark.parametrize("kind", ACTIONS)
@pytest.mark.parametrize(
    "memory",
    [
        pytest.param({}, id="plain", marks=pytest.mark.slow),
        pytest.param({"use_lstm": True, "lstm_cell_size": 3, "max_seq_len": 4}, id="lstm"),
    ],
)
def test_actions(tmp_path, kind, memory):
    previous = {"lstm_use_prev_action": True, "lstm_use_prev_reward": True} if memory else {}
    train(tmp_path, OBSERVATIONS["int keys"], ACTIONS[kind], **memory, **previous)


@pytest.mark.parametrize("kind", ["vector", "int keys"])
def test_previous_actions_without_recurrence(tmp_path, kind):
    train(tmp_path, OBSERVATIONS[kind], ACTIONS["matrix"], lstm_use_prev_action=True)


PAIR = S.Tuple([S.MultiBinary(2), S.MultiBinary(3)])
MASKS = {
    "tuple": (S.MultiDiscrete([2, 3]), PAIR),
    "grid": (S.MultiDiscrete([[2, 3], [2, 2]]), S.Tuple([PAIR, S.Tuple([S.MultiBinary(2), S.MultiBinary(2)])])),
    "joined": (S.MultiDiscrete([2, 3]), S.MultiBinary(5)),
    "one": (S.Discrete(3), S.Box(0, 1, (3,), np.int8)),
    "dict": (S.Dict(a=S.Discrete(2), b=S.MultiDiscrete([2, 3])), S.Dict(b=PAIR)),
}


class Masked(Anything):
    """Allows the last choice of each only."""

    def __init__(self, action, mask):
        super().__init__(S.Dict({"x": S.Box(-1, 1, (2,)), "action_mask": mask}), action)

    def _show(self):
        seen = super()._show()
        last = nested_map(lambda bits: (np.arange(len(bits)) == len(bits) - 1).astype(np.int8), seen["action_mask"])
        return {**seen, "action_mask": self._known(last)}

    def _known(self, last):
        if isinstance(last, np.ndarray) and len(last) == 5:  # two choices in one mask
            return np.array([0, 1, 0, 0, 1], np.int8)
        return last

    def step(self, action):
        if isinstance(self.action_space, S.Dict):
            assert action["b"].tolist() == [1, 2]
        else:
            last = self.action_space.n if isinstance(self.action_space, S.Discrete) else self.action_space.nvec
            assert np.array_equal(action, np.asarray(last) - 1), action
        return super().step(action)


@pytest.mark.parametrize("kind", MASKS)
def test_masks(kind):
    config = config_for(*MASKS[kind]).environment(lambda: Masked(*map(copied, MASKS[kind])))
    config.build_algo().train()


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (S.Dict(a=S.MultiBinary(2)), r"action mask: expected .* got a dict with \['a'\]"),
        (S.Tuple([S.MultiBinary(2)]), r"action mask: expected 5 entries"),
        (S.MultiBinary(4), "action mask: expected 5 entries"),
    ],
)
def test_masks_that_do_not_fit_are_errors(mask, says):
    space = S.Dict({"x": S.Box(-1, 1, (2,)), "action_mask": mask})
    with pytest.raises(RLKitError, match=says):
        config_for(space, S.MultiDiscrete([2, 3])).build_algo().train()


UNSERVED = {
    "text": S.Dict(a=S.Box(-1, 1), t=S.Text(3)),
    "sequence": S.Sequence(S.Box(-1, 1)),
    "graph": S.Graph(S.MultiBinary(2), None),  # of vectors and choices an installed plugin may serve some
    "one of": S.OneOf([S.Box(-1, 1), S.Discrete(2)]),
    "bytes": S.Box(0, 255, (2,), np.uint8),
    "nothing": S.Dict({}),
    "no numbers": S.Box(-1, 1, (0,)),
}


@pytest.mark.parametrize("kind", UNSERVED)
def test_what_is_not_served_is_an_error_that_names_it(kind):
    space = UNSERVED[kind]
    name = {"text": "Text", "nothing": "", "no numbers": ""}.get(kind, type(space).__name__)
    if kind != "bytes":
        with pytest.raises(RLKitError, match=name):
            config_for(space, S.Discrete(2)).build_algo()
    if kind not in ("nothing", "no numbers"):
        with pytest.raises(RLKitError, match=name):
            config_for(S.Box(-1, 1), space).build_algo()


def test_large_numbers_that_differ_little_do_differ():
    rng = np.random.default_rng(0)
    for scale in (1.7e9, 1e12):
        seen = torch.from_numpy(scale + rng.uniform(-10, 10, (1000, 1)))
        normalizer = ObservationNormalizer(S.Box(-INF, INF, (1,), np.float64))
        normalizer.update_statistics(seen)
        out = normalizer(seen)
        assert out.dtype == torch.float32
        assert len(out.unique()) > 990
        assert abs(float(out.mean())) < 1e-3
        assert abs(float(out.std()) - 1) < 1e-2


def test_a_restored_algorithm_is_the_same(tmp_path):
    algo = config_for(OBSERVATIONS["deep"], ACTIONS["int keys"]).build_algo()
    algo.train()
    algo.save_to_path(tmp_path / "saved")
    function = lambda: Anything(copied(OBSERVATIONS["deep"]), copied(ACTIONS["int keys"]))  # noqa: E731
    again = Algorithm.from_checkpoint(tmp_path / "saved", env=function)
    assert str(again.get_module().state_dict()) == str(algo.get_module().state_dict())
