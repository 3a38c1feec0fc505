"""A save changes nothing, and another runner goes on from it in the middle of episodes, to the last bit."""

from __future__ import annotations

import logging
import random
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core.checkpoint import strict_json
from rlkit_core.checkpoint.tree import EncodedTree, decode_tree, encode_tree
from rlkit_core.data.rollout import Rollout
from rlkit_core.envs import EnvRunner
from rlkit_core.spaces import leaves


class Drift(gym.Env):
    """A walk with noise of the env's own; episodes of ``length`` steps, some of them terminated."""

    def __init__(self, length: int = 9, obs: str = "box", actions: str = "discrete") -> None:
        self.length, self.obs = length, obs
        box = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.observation_space: gym.Space[Any] = {
            "box": box,
            "dict": gym.spaces.Dict(
                {"x": box, "n": gym.spaces.Discrete(5), "pix": gym.spaces.Box(0, 255, (2, 3), np.uint8)}
            ),
            "tuple": gym.spaces.Tuple((box, gym.spaces.Box(-1, 1, (1,), np.float64))),
        }[obs]
        self.action_space: gym.Space[Any] = {
            "discrete": gym.spaces.Discrete(3),
            "box": gym.spaces.Box(-2.0, 2.0, (2,), np.float32),
            "dict": gym.spaces.Dict({"b": gym.spaces.Box(-1, 1, (2,), np.float32), "a": gym.spaces.Discrete(4)}),
        }[actions]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = self.np_random.normal(size=3).astype(np.float32), 0
        self.life = int(self.np_random.integers(min(2, self.length), self.length + 1))
        return self.seen(), {}

    def step(self, action):
        self.t += 1
        push = float(sum(np.sum(leaf) for leaf in leaves(action)))
        self.x = (0.9 * self.x + 0.1 * push + self.np_random.normal(size=3)).astype(np.float32)
        over = self.t >= self.life
        return self.seen(), float(self.x[0]) + push, over and self.life % 2 == 0, over and self.life % 2 == 1, {}

    def seen(self):
        if self.obs == "dict":
            return {"x": self.x, "n": self.t % 5, "pix": np.full((2, 3), self.t, np.uint8)}
        return self.x if self.obs == "box" else (self.x, np.tanh(self.x[:1]).astype(np.float64))


def config(mode: str = "sync", envs: int = 3, model: dict[str, Any] | None = None, env: Any = Drift, **env_config: Any):
    return (
        ACConfig()
        .environment(env, env_config=env_config)
        .env_runners(num_envs_per_env_runner=envs, gym_env_vectorize_mode=mode)
        .training(train_batch_size=48, minibatch_size=16)
        .rl_module(model_config={"fcnet_hiddens": [8], "lstm_cell_size": 5, "max_seq_len": 4, **(model or {})})
        .debugging(seed=3)
    )


def through_files(state: Any) -> Any:
    """As a checkpoint gives it back."""
    encoded = encode_tree(state)
    document = strict_json.loads(strict_json.dumps(encoded.document), "state.json")
    return decode_tree(EncodedTree(document, {name: tensor.clone() for name, tensor in encoded.tensors.items()}))


def everything(rollout: Rollout) -> dict[str, Any]:
    """All of a rollout, copied."""
    parts: dict[str, Any] = {f"column {name}": column for name, column in rollout.columns.items()}
    for name in ("bootstrap_obs", "bootstrap_inputs", "final_obs", "final_inputs", "final_index", "loss_mask"):
        parts[name] = getattr(rollout, name)
    for name in ("state_in", "episode_starts", "fresh_start"):
        parts[name] = getattr(rollout, name, None)
    return {
        f"{name}/{k}": leaf.clone() if isinstance(leaf, torch.Tensor) else leaf
        for name, part in parts.items()
        for k, leaf in enumerate(leaves(part))
    }


def same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        other = b[name]
        if isinstance(value, torch.Tensor):
            assert value.dtype == other.dtype, name
            assert torch.equal(value, other), name
        else:
            assert value == other, name


def told(runner: EnvRunner) -> Any:
    report = runner.episodes
    return report.returns, report.lengths, report.began.env.tolist(), runner.steps.env


class Careless(Drift):
    """Draws from generators that all of a process share."""

    def seen(self):
        return self.x + np.float32(random.random() + np.random.random())


LAYOUTS: list[dict[str, Any]] = [
    {},
    {"length": 400},  # no episode ever ends within a rollout
    {"length": 1, "envs": 2},
    {"obs": "dict", "actions": "box"},
    {"obs": "tuple", "actions": "dict"},
    {"model": {"use_lstm": True}},
    {"model": {"use_gru": True, "lstm_use_prev_action": True, "lstm_use_prev_reward": True}, "actions": "dict"},
    {"model": {"lstm_use_prev_action": True, "lstm_use_prev_reward": True}, "length": 30},
    {"mode": "gymnasium_sync"},
    {"mode": "gymnasium_sync", "obs": "dict", "actions": "box", "model": {"use_lstm": True}},
    {"mode": "async", "envs": 2, "obs": "dict"},
    {"mode": "async", "envs": 2, "env": Careless},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("pieces", [(5, 5, 5), (1, 2, 70, 3)], ids=str)
def test_another_runner_goes_on_to_the_last_bit(layout, pieces, caplog) -> None:
    if layout.get("mode") == "async" and pieces[0] != 1:
        pytest.skip("processes take long to start; one way of cutting will do")
    alone, saved = EnvRunner(config(**layout)), EnvRunner(config(**layout))
    other = None
    with caplog.at_level(logging.WARNING, "rlkit_core.envs"):
        try:
            for index, steps in enumerate(pieces):
                wanted = everything(alone.sample(num_timesteps=steps * alone.num_envs)["default_policy"])
                who = other or saved
                same(everything(who.sample(num_timesteps=steps * alone.num_envs)["default_policy"]), wanted)
                assert told(who) == told(alone)
                state = through_files(who.get_state())
                if index:
                    if other is not None:
                        other.stop()
                    other = EnvRunner(config(**layout))
                    other.set_state(state)
                    assert through_files(other.get_state()).keys() == state.keys()
        finally:
            for runner in (alone, saved, other):
                if runner is not None:
                    runner.stop()
    assert not caplog.records
    assert alone.stats.result().keys()


class Forgetful(Drift):
    """Its episodes depend on how many there were, which no seed tells."""

    resets = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets += 1
        self.x = self.x + np.float32(self.resets // 2)
        return self.seen(), {}


def saved_after(made: Any, steps: int = 20) -> tuple[EnvRunner, EnvRunner]:
    """A runner, and another that is to go on from it."""
    runner, other = EnvRunner(made), EnvRunner(made)
    runner.sample(num_timesteps=steps * runner.num_envs)
    other.set_state(through_files(runner.get_state()))
    return runner, other


def test_an_env_that_is_not_deterministic_begins_anew_alone_and_is_named(caplog) -> None:
    runner, other = saved_after(config(env=Forgetful, length=24))
    open_before = runner.stats.get_open()["lengths"]
    rollout = other.sample(num_timesteps=3)["default_policy"]
    going_on = runner.sample(num_timesteps=3)["default_policy"]
    said = [record.getMessage() for record in caplog.records]
    lost = [n for n in range(3) if any(f"env {n} of runner 0 begins with a fresh episode" in text for text in said)]
    assert lost
    assert all("not deterministic given its seed" in text for text in said)
    for n in range(3):
        assert torch.equal(rollout["obs"][:, n], going_on["obs"][:, n]) == (n not in lost)
        assert other.stats.get_open()["lengths"][n] == 1 + (0 if n in lost else open_before[n])
    assert rollout.fresh_start  # so that nobody links what came before with what comes now
    assert other.episodes.began.env.tolist()[: len(lost)] == lost


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c.debugging(seed_resets=False), "it was reset without a seed"),
        (lambda c: c.environment(replay_limit=3), "more than replay_limit=3"),
        (lambda c: c.environment(replay=False), "nothing of it was kept"),
    ],
)
def test_what_is_not_kept_is_said(change, why, caplog) -> None:
    _, other = saved_after(change(config(length=400)))
    other.sample(num_timesteps=3)
    if "seed" in why:  # the first reset has a seed always
        assert not caplog.records
        _, other = saved_after(change(config(length=5)))
        other.sample(num_timesteps=3)
    assert len(caplog.records) == 3
    assert all(why in record.getMessage() for record in caplog.records)


def test_another_number_of_envs_begins_anew_and_says_so(caplog) -> None:
    runner = EnvRunner(config())
    runner.sample(num_timesteps=30)
    other = EnvRunner(config(envs=2))
    other.set_state(through_files(runner.get_state()))
    assert "has 2 envs and had 3: it begins with fresh episodes" in caplog.text
    assert other.sample(num_timesteps=4)["default_policy"].fresh_start


class Telling(Forgetful):
    """Can be brought to where it was without a replay."""

    replayed = False

    def get_state(self):
        rng = self.np_random.bit_generator.state
        return {"x": self.x, "t": self.t, "life": self.life, "resets": self.resets, "rng": rng}

    def set_state(self, state):
        self.x, self.t, self.life, self.resets = np.array(state["x"]), state["t"], state["life"], state["resets"]
        self.np_random.bit_generator.state = state["rng"]

    def step(self, action):
        type(self).replayed = True
        return super().step(action)


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
def test_envs_that_tell_their_state_are_not_replayed(mode, caplog) -> None:
    runner, other = saved_after(config(env=Telling, mode=mode, length=300))
    wanted = everything(runner.sample(num_timesteps=3)["default_policy"])
    Telling.replayed = False
    resume = other.resume_open
    other.resume_open = lambda state: (resume(state), setattr(Telling, "was", Telling.replayed))[0]  # type: ignore[method-assign]
    same(everything(other.sample(num_timesteps=3)["default_policy"]), wanted)
    assert not Telling.was  # type: ignore[attr-defined]
    assert not caplog.records


def test_nothing_is_replayed_before_it_is_needed() -> None:
    runner, other = saved_after(config(env=Telling))
    Telling.replayed = False
    state = other.get_state()
    assert not Telling.replayed
    other.run_episodes(2)
    third = EnvRunner(config(env=Telling))
    third.set_state(through_files(state))
    same(
        everything(third.sample(num_timesteps=9)["default_policy"]),
        everything(runner.sample(num_timesteps=9)["default_policy"]),
    )
    assert other.sample(num_timesteps=3)["default_policy"].fresh_start


def test_long_episodes_end_though_every_iteration_is_saved(tmp_path) -> None:
    made = config(length=90, envs=1).training(train_batch_size=16, minibatch_size=8)
    with made.build_algo() as algo, made.build_algo() as unsaved:
        for k in range(12):
            result, expected = algo.train(), unsaved.train()
            algo.save_to_path(tmp_path / str(k))
        assert result["env_runners"]["num_episodes_lifetime"] > 0
        assert result["learners"] == expected["learners"]
        theirs = unsaved.learner_group.get_weights().state["default_policy"]
        for name, value in algo.learner_group.get_weights().state["default_policy"].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(theirs[name]))


def test_an_envs_own_vector_class_takes_one_seed() -> None:
    made = config(env="CartPole-v1", mode="vector_entry_point")
    rollouts = [EnvRunner(made).sample(num_timesteps=300)["default_policy"] for _ in range(2)]
    assert rollouts[0].loss_mask is not None
    same(everything(rollouts[0]), everything(rollouts[1]))


def test_an_envs_own_vector_class_begins_anew_and_says_so(caplog) -> None:
    runner, other = saved_after(config(env="CartPole-v1", mode="vector_entry_point", model={"use_lstm": True}))
    rollout = other.sample(num_timesteps=9)["default_policy"]
    assert rollout.fresh_start
    assert not any(leaf[0].any() for leaf in leaves(rollout.state_in))
    assert other.stats.get_open()["lengths"].tolist() == [3, 3, 3]
    assert len(runner.not_exact()) == 1
    assert len(caplog.messages) == 3
    assert all("own vector implementation" in text for text in caplog.messages)
