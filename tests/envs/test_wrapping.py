"""Wrappers that a config names: how they are kept, found and trusted, and what is counted below those for training."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import ClipReward, TimeLimit
from hypothesis import given, settings
from hypothesis import strategies as st

from actor_critic import ACConfig
from rlkit_core.algorithm import Algorithm, AlgorithmConfig
from rlkit_core.algorithm.config.used import used_by_config
from rlkit_core.checkpoint import trust
from rlkit_core.envs.episodes import EpisodeStats
from rlkit_core.envs.gym_vectors.make import make_vector_env
from rlkit_core.envs.make import make_env
from rlkit_core.envs.wrapping.entries import (
    ReadName,
    bundles,
    described,
    for_evaluation,
    names_in_bundles,
    wrapper_entries,
)
from rlkit_core.errors import (
    AmbiguousComponentError,
    CheckpointError,
    ConfigError,
    EnvError,
    PluginNotFoundError,
)
from rlkit_core.plugins.discovery import scan
from rlkit_core.plugins.host import PluginHost, use_host

TIME_LIMIT = {"name": "gymnasium.wrappers:TimeLimit", "max_episode_steps": 3}
CLIP = {"name": "gymnasium.wrappers:ClipReward", "min_reward": -1, "max_reward": 1, "training_only": True}


class Logged(gym.Env):
    """Episodes of ``lengths`` in turn, of reward 5 per step; ``log`` has what was played of each, by whatever end."""

    observation_space = gym.spaces.Box(-10, 100, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, lengths: tuple[int, ...] = (6,), logs: list[list[int]] | None = None, drawn: int = 0) -> None:
        self.lengths, self.log, self.t, self.drawn = lengths, [], 0, drawn
        if logs is not None:
            logs.append(self.log)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        self.log.append(0)
        if self.drawn:
            self.lengths = (int(self.np_random.integers(1, self.drawn)),)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        self.log[-1] += 1
        over = self.t == self.lengths[(len(self.log) - 1) % len(self.lengths)]
        return np.full(1, self.t, np.float32), 5.0, over and self.t % 2 == 0, over and self.t % 2 == 1, {"at": self.t}


class Lives(gym.Wrapper):
    """Ends an episode after every few steps; the game goes on until it is over (``resets`` ends it all the same)."""

    def __init__(self, env: gym.Env, steps: int = 2, resets: bool = False) -> None:
        super().__init__(env)
        self.steps, self.resets, self.over, self.t = steps, resets, True, 0

    def reset(self, **kwargs: Any) -> Any:
        self.t = 0
        if self.over or self.resets:
            return self.env.reset(**kwargs)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.t += 1
        self.over = terminated or truncated
        return observation, reward, terminated or self.t == self.steps, truncated, info


def config(wrappers: Any, **env_config: Any) -> ACConfig:
    return (
        ACConfig()
        .environment(Logged, env_config=env_config, wrappers=wrappers)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .env_runners(num_envs_per_env_runner=2)
        .training(train_batch_size=32, minibatch_size=32, num_epochs=1)
        .debugging(seed=1)
    )


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install distributions, each with one module, and use those that are plugins."""
    monkeypatch.syspath_prepend(str(tmp_path))
    hosts = []

    def add(name: str, source: str, *, plugin: bool = True) -> None:
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        if plugin:
            info = tmp_path / f"{module}-2.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
            (info / "entry_points.txt").write_text(f"[rlkit.plugins]\n{name} = {module}\n")
        importlib.invalidate_caches()
        hosts.append(use_host(PluginHost(scan(sys.path, env={}), {})))
        hosts[-1].__enter__()

    yield add
    for host in reversed(hosts):
        host.__exit__(None, None, None)
    for name in [n for n in sys.modules if n.startswith(("acme", "lab_", "own_"))]:
        del sys.modules[name]


PLUGIN = """
import gymnasium as gym
from rlkit_core import hookimpl
from rlkit_core.plugins.records import Service
rlkit_api = "1.0"

class Wrap(gym.Wrapper):
    def __init__(self, env, times=2):
        super().__init__(env)
        self.times = times

def wrap(env, times=2):
    return Wrap(env, times)

@hookimpl
def rlkit_services():
    return [Service("env_wrapper", "wrap", "{module}:wrap")]
"""


# -- how they are kept ------------------------------------------------------------------------------------------------


def test_the_one_form_of_all_that_can_be_written() -> None:
    assert wrapper_entries(None) == wrapper_entries([]) == []
    assert wrapper_entries("lab/wrap") == wrapper_entries(["lab/wrap"]) == [{"name": "lab/wrap"}]
    assert wrapper_entries(TIME_LIMIT) == [TIME_LIMIT]
    assert wrapper_entries([ClipReward, Lives]) == [{"name": "gymnasium.wrappers:ClipReward"}, {"name": Lives}]
    assert wrapper_entries({"name": Lives, "training_only": False}) == [{"name": Lives}]
    once = wrapper_entries(["atari", CLIP, {"name": Lives, "steps": 3}])
    assert wrapper_entries(once) == once
    assert not any(map(described, ()))


def test_a_bundle_is_replaced_by_what_it_means_and_can_be_changed() -> None:
    atari = wrapper_entries("atari")
    assert atari[0]["env_config"] == {"frameskip": 1, "repeat_action_probability": 0.0}
    names = [entry.get("name", "").rpartition(":")[2] for entry in atari]
    assert names == ["", "AtariPreprocessing", "FrameStackObservation", "ClipReward"]
    assert {entry["bundle"] for entry in atari} == {"atari"}
    changed = wrapper_entries({"name": "rlkit-core/atari", "stack_size": 2, "frameskip": 2, "terminal_on_life_loss": 0})
    assert changed[0]["env_config"]["frameskip"] == 2
    assert (changed[2]["stack_size"], changed[1]["in_training"]) == (2, {"terminal_on_life_loss": 0})
    assert wrapper_entries("atari") == atari
    played = for_evaluation(atari)
    assert "in_training" not in played[1]
    assert [entry.get("name", "").rpartition(":")[2] for entry in played] == names[:-1]
    assert for_evaluation(played) == played


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (3, "expected a list of wrappers"),
        ([3], "a wrapper is 3"),
        ([{"nam": "lab/wrap"}], "has no 'name'"),
        ([{"name": ""}], "is empty"),
        ([{"name": 3}], "expected a text, a class or a function"),
        ([{"name": "lab/wrap", "training_only": "yes"}], "expected True or False"),
        ([{"name": "lab/wrap", "in_training": 3}], "expected a dict of arguments"),
        ([{"name": "atari", "stack": 2}], "bundle 'atari' has no 'stack'. Did you mean 'stack_size'"),
    ],
)
def test_what_is_malformed_is_refused_where_it_is_set(written: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        AlgorithmConfig().environment(wrappers=written)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gymnasium.wrappers:TimeLimits", "Did you mean 'TimeLimit'"),
        ("TimeLimit", "'gymnasium.wrappers:TimeLimit'"),
        ("no_such_module:Wrap", "no module 'no_such_module'"),
        ("lab/wrap", "nothing installed supplies 'lab'"),
        ("gymnasium.wrappers:__name__", "expected a class or a function"),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_made(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config([name]).validate()


def test_wrappers_that_do_not_fit_are_named_with_their_arguments() -> None:
    with pytest.raises(EnvError, match=r"TimeLimit\(max_episode_stepss=3\).*could not be put around env"):
        make_env("CartPole-v1", None, [{"name": TimeLimit, "max_episode_stepss": 3}])
    with pytest.raises(EnvError, match="gave a int, which has no reset"):
        make_env("CartPole-v1", None, [{"name": id}])
    flat = {"name": "gymnasium.wrappers:DtypeObservation", "dtype": "float64", "training_only": True}
    with pytest.raises(EnvError, match=r"changes the observation_space .* leave out training_only"):
        make_env("CartPole-v1", None, [flat])
    with pytest.raises(ConfigError, match=r"'vector_entry_point': .* are put around single envs"):
        config([TIME_LIMIT]).environment("CartPole-v1").env_runners(
            gym_env_vectorize_mode="vector_entry_point"
        ).build_algo()


def test_arguments_of_the_env_lie_below_those_of_the_config() -> None:
    entries = [{"env_config": {"max_episode_steps": 7, "sutton_barto_reward": True}}]
    spec = make_env("CartPole-v1", {"max_episode_steps": 9}, entries).spec
    assert spec is not None
    assert (spec.max_episode_steps, spec.kwargs["sutton_barto_reward"]) == (9, True)


# -- whom they belong to ----------------------------------------------------------------------------------------------


@pytest.mark.covers("service:env_wrapper")
def test_two_plugins_with_one_name_are_told_apart_by_id_now_and_later(install) -> None:
    install("acme", PLUGIN.format(module="acme"))
    short = config(["wrap"])
    assert used_by_config(short).to_dict()["used"].count(["wrapper", "acme/wrap", "acme", "2.0"]) == 1
    assert make_env(Logged, None, short.wrappers).times == 2
    assert make_env(Logged, None, wrapper_entries({"name": "acme/wrap", "times": 3})).times == 3
    path = short.build_algo().save_to_path()
    install("lab-two", PLUGIN.format(module="lab_two"))
    with pytest.raises(AmbiguousComponentError, match="'acme/wrap' and 'lab-two/wrap'"):
        make_env(Logged, None, short.wrappers)
    assert type(make_env(Logged, None, [{"name": "lab-two/wrap"}])).__module__ == "lab_two"
    again = Algorithm.from_checkpoint(path)
    assert again.config.wrappers == [{"name": "acme/wrap"}]  # as it was meant
    again.stop()


def test_a_file_names_only_wrappers_that_somebody_vouches_for(install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme", PLUGIN.format(module="acme"))
    monkeypatch.setattr(trust, "plugin_packages", lambda: {"acme": ("acme", "2.0")})
    install(
        "own-thing", "import gymnasium as gym\nclass Wrap(gym.Wrapper): pass\ndef run(env): return env", plugin=False
    )
    install("own-other", "raise RuntimeError('imported')", plugin=False)
    names = ["acme:Wrap", "acme:wrap", "acme/wrap", TIME_LIMIT, *({"name": name} for name in names_in_bundles())]
    text = config([*names, "own_thing:Wrap", "own_thing:run", "own_other:Wrap", "os:system", "numpy:save"]).to_json()
    read = AlgorithmConfig.from_json(text)
    *good, own, function, other, system, library = read.wrappers
    assert all(type(entry["name"]) is ReadName for entry in read.copy(copy_frozen=False).wrappers)
    for entry in good[:4]:
        make_env(Logged, None, [entry])
    for entry, said in [(own, "imported only from gymnasium and from plugins"), (other, "import own_other first")]:
        with pytest.raises(CheckpointError, match=said):
            make_env(Logged, None, [entry])
    importlib.import_module("own_thing")
    assert type(make_env(Logged, None, [own])).__name__ == "Wrap"
    for entry in (function, library):
        with pytest.raises(CheckpointError, match=r"is no gymnasium\.Wrapper"):
            make_env(Logged, None, [entry])
    with pytest.raises(CheckpointError, match="imported only from"):
        make_env(Logged, None, [system])
    assert make_env(Logged, None, wrapper_entries("own_thing:run")).__class__ is Logged  # on somebody's own word


def test_a_run_whose_wrappers_are_a_scripts_gets_them_again(tmp_path: Path, install) -> None:
    install("own-thing", "import gymnasium as gym\nclass Wrap(gym.Wrapper): pass", plugin=False)

    def own(env: gym.Env) -> gym.Env:
        return TimeLimit(env, 4)

    algorithm = config(["own_thing:Wrap", {"name": own, "training_only": True}]).build_algo()
    path = algorithm.save_to_path(tmp_path / "saved")
    algorithm.stop()
    del sys.modules["own_thing"]
    with pytest.raises(ConfigError, match=r"import own_thing first(.|\n)*checkpoints hold no code"):
        Algorithm.from_checkpoint(path)
    again = Algorithm.from_checkpoint(path, wrappers=["own_thing:Wrap", {"name": own, "training_only": True}])
    assert again.evaluate(2)["env_runners"]["episode_len_mean"] == 6
    again.stop()


def test_config_and_lock_hold_them() -> None:
    wrapped = config(["atari", {"name": Lives, "steps": 3}])
    read = AlgorithmConfig.from_json(wrapped.to_json())
    assert read == wrapped
    assert json.loads(wrapped.to_json())["settings"]["wrappers"][0]["env_config"]["frameskip"] == 1
    found = {entry.id for entry in used_by_config(wrapped).entries if entry.role == "wrapper"}
    assert found == {
        "gymnasium/AtariPreprocessing",
        "gymnasium/FrameStackObservation",
        "gymnasium/ClipReward",
        "local/Lives",
    }
    with trust.reading():
        assert type(wrapper_entries("lab/wrap")[0]["name"]) is ReadName
    assert set(bundles()) == {"atari", "minigrid"}


# -- what is counted --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "gymnasium_sync", "async"])
def test_returns_are_the_envs_own_and_evaluation_goes_without(mode: str) -> None:
    lives = {"name": Lives, "training_only": True}
    algorithm = config([lives, CLIP]).env_runners(gym_env_vectorize_mode=mode).build_algo()
    for _ in range(2):
        metrics = algorithm.train()["env_runners"]
    assert (metrics["episode_return_mean"], metrics["episode_len_mean"]) == (30, 6)
    assert metrics["num_env_steps_sampled_lifetime"] == 64
    assert metrics["num_episodes_lifetime"] == 2 * (32 // 6)
    assert not any("rlkit/" in name for name in metrics)
    rollout = algorithm.env_runner.sample(num_timesteps=24)["default_policy"]
    assert rollout["rewards"].unique().tolist() == [1]
    assert int(rollout["terminateds"].sum()) == 12  # lives
    played = algorithm.evaluate(4)["env_runners"]
    assert (played["episode_return_mean"], played["episode_len_mean"]) == (30, 6)
    algorithm.stop()


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple),
    lives=st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=2),
    pieces=st.lists(st.integers(1, 9), min_size=3, max_size=8),
)
def test_whatever_ends_episodes_above_those_below_are_counted_whole(
    lengths: tuple[int, ...], lives: list[tuple[int, bool]], pieces: list[int]
) -> None:
    logs: list[list[int]] = []
    wrappers = [{"name": Lives, "steps": steps, "resets": resets, "training_only": True} for steps, resets in lives]
    env = make_vector_env(lambda: Logged(lengths, logs), {}, 2, info_metrics=["at"], wrappers=wrappers)
    stats, found = EpisodeStats(2), []
    rows = np.zeros((2, 1), np.float32)
    env.reset([1, 2], rows)
    for steps in pieces:
        rewards, dones = np.zeros((steps, 2), np.float32), np.zeros((2, steps, 2), np.bool_)
        env.ended_infos.clear()
        for t in range(steps):
            env.step(np.zeros(2, np.int64), rows, rewards[t], dones[0, t], dones[1, t])
        over = dones.any(0)
        _, counted = stats.count(rewards, over)
        found.append(stats.held.take(over.nonzero()[1], counted, env.ended_infos))
        if steps % 2:  # a checkpoint on the way
            state, stats = stats.get_open(), EpisodeStats(2)
            stats.set_open(state, np.zeros(2, np.bool_))
    for n, log in enumerate(logs):
        mine = [k for one in found for k in one.lengths[one.envs == n].tolist()]
        assert mine == log[: len(mine)]
        assert len(log) - len(mine) <= 2  # the one that goes on, and one that was reset without an end
    for one in found:
        assert (one.returns == 5 * one.lengths).all()
        assert all(info in ({}, {"at": length}) for info, length in zip(one.infos, one.lengths, strict=True))
    assert sum(map(sum, logs)) == 2 * sum(pieces)


def test_a_run_goes_on_with_what_it_had_counted(tmp_path: Path) -> None:
    lives = [{"name": Lives, "steps": 4, "resets": True, "training_only": True}]
    whole = config(lives, drawn=9).training(train_batch_size=14, minibatch_size=14).build_algo()
    for _ in range(3):
        whole.train()
    path = whole.save_to_path(tmp_path / "saved")
    resumed = Algorithm.from_checkpoint(path)
    for _ in range(3):
        one, other = whole.train()["env_runners"], resumed.train()["env_runners"]
        for name in ("episode_return_mean", "episode_len_mean", "num_episodes_lifetime"):
            assert one[name] == other[name]
    whole.stop()
    resumed.stop()


def test_envs_of_several_agents_have_no_wrappers_for_training() -> None:
    from rlkit_core.testing import MultiAgentCartPole

    several = config([CLIP]).environment(MultiAgentCartPole, env_config={"num_agents": 2})
    with pytest.raises((ConfigError, EnvError), match=r"for envs of one agent|could not be put around"):
        several.build_algo()


def test_a_missing_plugin_is_said_with_the_kind() -> None:
    with pytest.raises(PluginNotFoundError, match="no env wrapper named 'wrop'"):
        make_env(Logged, None, [{"name": "wrop"}])
