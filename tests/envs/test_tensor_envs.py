"""Simulators that return tensors: learned from as single envs are, and nothing goes through numpy."""

from __future__ import annotations

import logging

import gymnasium as gym
import numpy as np
import pytest
import torch
from counting_vectors import ENVS, Counting, CountingVector, config_for, experience, runner_of, sampled
from gymnasium.vector import AutoresetMode
from tensor_sims import TensorCounting

from rlkit_core.distributions import Distribution
from rlkit_core.envs import as_vector_env
from rlkit_core.envs.gym_vectors.tensors import vector as tensor_vector
from rlkit_core.envs.gym_vectors.tensors.loop import TensorLoop
from rlkit_core.envs.gym_vectors.tensors.vector import TensorVectorEnv
from rlkit_core.errors import EnvError, NonFiniteError

WAYS = [{}, {"finals": "final_observation"}, {"next_step": True}, {"flags": "one"}, {"takes_seed": False}]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("composed", [False, True])
def test_a_simulator_gives_the_experience_of_single_envs(way, composed):
    if composed and len(way) and "next_step" not in way:
        pytest.skip("the same code")
    ours, ours_again, _ = sampled(Counting, composed=composed)
    theirs, theirs_again, metrics = sampled(TensorCounting, composed=composed, **way)
    for n in range(ENVS):
        whole = experience(ours, n) + experience(ours_again, n)
        seen = experience(theirs, n) + experience(theirs_again, n)
        assert seen == whole[: len(seen)]
        assert len(seen) > len(whole) * 0.7
    assert (theirs.loss_mask is not None) == way.get("next_step", False)
    ended = sum(int((one["terminateds"] | one["truncateds"]).sum()) for one in (theirs, theirs_again))
    assert metrics["num_episodes_lifetime"] == ended


def test_where_it_does_not_tell_what_was_last_the_observation_before_is_taken(caplog):
    with caplog.at_level(logging.WARNING):
        rollout, _, _ = sampled(TensorCounting, finals=None)
    assert len([one for one in caplog.records if "does not tell" in one.getMessage()]) == 1
    told, _, _ = sampled(TensorCounting)
    assert torch.equal(rollout.final_index, told.final_index)
    assert (told.final_obs[:, 1] == rollout.final_obs[:, 1] + 1).all()
    assert torch.equal(told.final_obs[:, 0], rollout.final_obs[:, 0])


@pytest.mark.parametrize("most", [1, 200])
def test_last_observations_are_looked_at_before_they_are_too_many(monkeypatch, most):
    config = config_for(TensorCounting, envs=5)

    def rollout():
        with config.build_algo() as algo:
            looks = []
            gather = algo.env_runner.env.gather
            monkeypatch.setattr(algo.env_runner.env, "gather", lambda: (looks.append(1), gather()))
            return algo.env_runner.sample(num_timesteps=5 * 16, explore=False)["default_policy"].clone(), len(looks)

    whole, once = rollout()
    monkeypatch.setattr(tensor_vector, "MOST_KEPT", most)  # a step's are 40 bytes
    parts, often = rollout()
    assert once == 1
    assert often == {1: 17, 200: 4}[most]
    assert torch.equal(whole.final_index, parts.final_index)
    assert torch.equal(whole.final_obs, parts.final_obs)


class Counted:
    """Tensors that went to numpy, and came from there, by their shapes."""

    def __init__(self, monkeypatch):
        self.shapes = []
        for owner, name in ((torch.Tensor, "numpy"), (torch.Tensor, "__array__"), (torch.Tensor, "tolist")):
            self._patch(monkeypatch, owner, name)
        for name in ("from_numpy", "as_tensor", "tensor"):
            self._patch(monkeypatch, torch, name)

    def _patch(self, monkeypatch, owner, name):
        was = getattr(owner, name)

        def counting(value, *args, **kwargs):
            if isinstance(value, np.ndarray) or owner is torch.Tensor:
                self.shapes.append(tuple(value.shape))
            return was(value, *args, **kwargs)

        monkeypatch.setattr(owner, name, counting)


@pytest.mark.parametrize("model", [{}, {"use_lstm": True, "max_seq_len": 4, "lstm_use_prev_action": True}])
def test_nothing_goes_through_numpy(monkeypatch, model):
    config = config_for(TensorCounting, envs=5, composed=True)
    if model:
        config = config.rl_module(model_config={"fcnet_hiddens": [8], "lstm_cell_size": 8, **model})
    with config.build_algo() as algo:
        runner = algo.env_runner
        assert isinstance(runner.loop, TensorLoop)
        counts = []
        for steps in (8, 32, 32):
            runner.sample(num_timesteps=5 * steps)
            counted = Counted(monkeypatch)
            runner.sample(num_timesteps=5 * steps)
            monkeypatch.undo()
            large = [shape for shape in counted.shapes if np.prod(shape) > 60]
            assert all(shape == (steps, 5) for shape in large)  # rewards and flags, for statistics
            counts.append(len(counted.shapes))
        assert counts[0] == counts[1] == counts[2]
        assert counts[0] <= 20
        algo.train()
        counted = Counted(monkeypatch)
        algo.train()
        monkeypatch.undo()
        assert counted.shapes.count((8, 5)) == (4 if model else 3)  # the last one: where sequences begin
        assert all(len(shape) < 2 for shape in counted.shapes if shape != (8, 5))  # metrics of the update


def test_learning_equals_that_from_a_vector_env_of_numpy():
    def learned(env, **env_config):
        model = {"use_lstm": True, "max_seq_len": 4, "fcnet_hiddens": [8], "lstm_cell_size": 8}
        config = config_for(env, **env_config).rl_module(model_config={**model, "lstm_use_prev_reward": True})
        with config.build_algo() as algo:
            for _ in range(3):
                algo.train()
            return algo.learner_group.get_weights(inference_only=False).state["default_policy"]

    tensors, arrays = learned(TensorCounting), learned(CountingVector, autoreset=AutoresetMode.SAME_STEP)
    assert tensors.keys() == arrays.keys()
    assert all(np.array_equal(tensors[name], arrays[name]) for name in tensors)


def test_it_evaluates_saves_and_goes_on(tmp_path, caplog):
    config = config_for(TensorCounting, envs=20)
    with config.build_algo() as algo:
        algo.train()
        played = algo.evaluate()["env_runners"]
        assert played["num_episodes"] == 10
        assert played["episode_len_mean"] == pytest.approx(3.5, abs=1.0)
        assert any("its own" in reason or "own vector" in reason for reason in algo.not_exact())
        path = algo.save_to_path(tmp_path / "saved")
        before = algo.learner_group.get_weights().state["default_policy"]
    with config.copy().build_algo() as again, caplog.at_level(logging.WARNING):
        again.restore_from_path(path)
        caplog.clear()
        again.train()
        said = [one for one in caplog.records if "fresh episode" in one.getMessage()]
        assert len(said) == 1  # not one for each env
        assert before.keys() == again.learner_group.get_weights().state["default_policy"].keys()


def test_metrics_of_infos_are_kept():
    config = config_for(TensorCounting).reporting(info_metrics=["t"])
    with config.build_algo() as algo:
        result = algo.train()["env_runners"]
        assert 3 <= result["t_mean"] <= 6
        assert result["t_mean"] == result["episode_len_mean"]


def spoiled(**kinds):
    class Spoiled(TensorCounting):
        def step(self, actions):
            observations, rewards, terminated, truncated, infos = super().step(actions)
            if kinds.get("observation") and self.t[1] == 2:
                observations["count"][1, 0] = torch.nan
            if kinds.get("reward"):
                rewards[2] = torch.inf
            if kinds.get("final") and truncated.any():
                infos["final_obs"]["count"][truncated] = torch.nan
            if kinds.get("choice") and self.t[0] == 1:
                observations["pair"][0][0] = 50
            return observations, rewards, terminated, truncated, infos

    return Spoiled


@pytest.mark.parametrize(
    ("kinds", "error", "says"),
    [
        ({"observation": True}, NonFiniteError, "env 1 of runner 0.*observation 'count'.*step 1"),
        ({"reward": True}, NonFiniteError, "env 2 of runner 0.*reward inf.*step 0"),
        ({"final": True}, NonFiniteError, "env 0 of runner 0.*observation 'count'.*step 2"),
        ({"choice": True}, EnvError, "env 0 of runner 0.*'pair.0' that is not in its space.*step 0"),
    ],
)
def test_what_is_not_well_is_told_of_with_env_and_step(kinds, error, says):
    with pytest.raises(error, match=says):
        runner_of(spoiled(**kinds), composed=True).sample(num_timesteps=ENVS * 8)


class Returns:
    """A simulator whose returned step is changed."""

    def __init__(self, change, **settings):
        self.change, self.settings = change, settings

    def __call__(self, num_envs):
        made, change = TensorCounting(num_envs, **self.settings), self.change
        step = made.step
        made.step = lambda actions: change(*step(actions))
        return made


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda o, r, d, c, i: (o[:, :1], r, d, c, i), r"observations: expected shape \(3, 2\)"),
        (lambda o, r, d, c, i: (o.numpy(), r, d, c, i), "observations are ndarray, expected tensors"),
        (lambda o, r, d, c, i: (o, r[:, None], d, c, i), r"rewards: expected shape \(3,\)"),
        (lambda o, r, d, c, i: (o, r, d.float(), c, i), "terminations: expected .*bool.*float32"),
        (lambda o, r, d, c, i: ({"policy": o}, r, d, c, i), r"a dict with \['policy'\].*observation_key"),
        (lambda o, r, d, c, i: (o, r, d, c, {"final_obs": o[:, :1]}), r"final_obs.*expected shape \(3, 2\)"),
        (lambda o, r, d, c, i: (o, r), "expected .observations, rewards.*got a tuple of 2"),
        (lambda o, r, d, c, i: 1 / 0, "raised ZeroDivisionError at a step"),
    ],
)
def test_what_it_returns_is_looked_at(change, says):
    with pytest.raises(EnvError, match=says):
        runner_of(Returns(change)).sample(num_timesteps=12)


class Plain:
    """A simulator that says nothing of itself but its size."""

    def __init__(self, num_envs):
        self.num_envs, self.t = num_envs, torch.zeros(num_envs, 1)

    def reset(self):
        self.t.zero_()
        return {"policy": self.t, "critic": self.t}

    def step(self, actions):
        self.t += 1
        done = self.t[:, 0] == 4
        self.t[done] = 0
        infos = {"time_outs": done}
        return {"policy": self.t, "critic": self.t}, actions[:, 0].clamp_(-1, 1), done, infos


def test_one_that_does_not_describe_itself():
    spaces = gym.spaces.Box(0.0, 9.0, (1,), np.float32), gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def make(num_envs):
        return as_vector_env(
            Plain(num_envs),
            device="cpu",
            observation_space=spaces[0],
            action_space=spaces[1],
            observation_key="policy",
        )

    runner = runner_of(make)
    rollout = runner.sample(num_timesteps=ENVS * 6)["default_policy"]
    assert rollout["obs"][:, 0, 0].tolist() == [0, 1, 2, 3, 0, 1]
    assert rollout["truncateds"][:, 0].tolist() == [False, False, False, True, False, False]
    assert rollout["actions"].abs().max() > 1  # they were clamped, but not ours
    with pytest.raises(EnvError, match="no vector env"):
        as_vector_env(Plain(2))
    with pytest.raises(EnvError, match="single_observation_space"):
        as_vector_env(Plain(2), device="cpu")


def test_what_as_vector_env_takes():
    adapted = as_vector_env(TensorCounting(2))
    assert isinstance(adapted, TensorVectorEnv)
    assert adapted.same_step_reset
    assert as_vector_env(adapted) is adapted
    assert not as_vector_env(TensorCounting(2), autoreset="NextStep").same_step_reset
    with pytest.raises(EnvError, match="autoreset is disabled"):
        as_vector_env(TensorCounting(2), autoreset=AutoresetMode.DISABLED)
    runner = runner_of(TensorCounting)
    runner.sample(num_timesteps=6)
    seeds = runner.env.envs.seeds
    assert len(seeds) == 1
    assert 0 <= seeds[0] < 2**31


SPACES = [
    gym.spaces.Discrete(4),
    gym.spaces.Discrete(4, start=-2),
    gym.spaces.MultiDiscrete([3, 4]),
    gym.spaces.MultiDiscrete([[3, 4], [2, 2]]),
    gym.spaces.MultiBinary(3),
    gym.spaces.MultiBinary([2, 2]),
    gym.spaces.Box(-2.0, 3.0, (2,), np.float32),
    gym.spaces.Box(-np.inf, np.inf, (2, 2), np.float32),
    gym.spaces.Box(np.array([-np.inf, 0.0]), np.array([1.0, 5.0]), dtype=np.float64),
    gym.spaces.Box(-1.0, 1.0, (), np.float32),
    gym.spaces.Box(-5, 5, (3,), np.int64),
    gym.spaces.Dict({"a": gym.spaces.Discrete(3), "b": gym.spaces.Tuple([gym.spaces.Box(-2, 2, (2,), np.float32)])}),
]


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_actions_are_translated_as_those_of_numpy(space, normalize, clip):
    generator = np.random.default_rng(3)

    def raw(layout):
        shape, dtype = layout
        scale = 2.0 if dtype.kind == "f" else 1.0
        return (generator.normal(size=(5, *shape)) * scale).astype(dtype) if scale > 1 else np.ones((5, *shape), dtype)

    def structure(at):
        if isinstance(at, gym.spaces.Dict):
            return {key: structure(child) for key, child in at.spaces.items()}
        if isinstance(at, gym.spaces.Tuple):
            return tuple(structure(child) for child in at.spaces)
        return raw(Distribution.action_shape_dtype(at))

    def tensors(at):
        if isinstance(at, dict):
            return {key: tensors(child) for key, child in at.items()}
        return tuple(map(tensors, at)) if isinstance(at, tuple) else torch.from_numpy(at.copy())

    def check(theirs, ours, given):
        if isinstance(ours, dict):
            for key in ours:
                check(theirs[key], ours[key], given[key])
        elif isinstance(ours, tuple):
            for parts in zip(theirs, ours, given, strict=True):
                check(*parts)
        else:
            assert theirs.numpy().dtype == ours.dtype
            assert np.array_equal(theirs.numpy(), ours)
            assert theirs.data_ptr() != given.data_ptr()

    actions = structure(space)
    given = tensors(actions)
    theirs = Distribution.to_env(given, space, normalize=normalize, clip=clip)
    check(theirs, Distribution.to_env(actions, space, normalize=normalize, clip=clip), given)


def test_one_that_does_not_reset_by_itself_is_told_of(caplog):
    class Endless(TensorCounting):
        def _begin(self, where):
            if (self.episode < 0).all():  # at the first reset only
                super()._begin(where)

        def step(self, actions):
            observations, rewards, _, _, infos = super().step(actions)
            late = self.t >= 5
            return observations, rewards, torch.zeros_like(late), late, infos

    for env, count in ((TensorCounting, 0), (Endless, 1)):
        caplog.clear()
        runner = runner_of(env)
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                runner.sample(num_timesteps=ENVS * 40)
        assert len([one for one in caplog.records if "seems not to reset" in one.getMessage()]) == count


def test_a_simulator_that_gymnasium_knows():
    class Named(TensorCounting, gym.Env):
        metadata = {}
        observation_space, action_space = TensorCounting(1).single_observation_space, Counting.action_space

    gym.register("Sim-v0", entry_point=Named)
    try:
        runner = runner_of("Sim-v0", envs=5)
        assert isinstance(runner.env, TensorVectorEnv)
        assert runner.sample(num_timesteps=20)["default_policy"].num_envs == 5
    finally:
        del gym.registry["Sim-v0"]
