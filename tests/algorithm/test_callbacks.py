"""Callbacks: who may be called for which event, with what, when, and how one ends training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from actor_critic import ACConfig
from rlkit_core import DefaultCallbacks, RLlibCallback
from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.algorithm.callbacks import Callbacks
from rlkit_core.algorithm.config.events import CALLBACK_EVENTS
from rlkit_core.errors import ConfigError, PluginError, PluginNotFoundError
from rlkit_core.plugins.guard import Origin, Watchers
from rlkit_core.plugins.records import Registered, Service
from rlkit_core.testing import MultiAgentCartPole


def small() -> Any:
    return (
        ACConfig()
        .environment("CartPole-v1")
        .env_runners(num_envs_per_env_runner=2)
        .training(train_batch_size=128, minibatch_size=128, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .debugging(seed=3)
    )


class Everything(RLlibCallback):
    """Hears of every event and keeps what it was given."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def names(self) -> list[str]:
        return [name for name, _ in self.heard]

    def given(self, name: str) -> list[dict[str, Any]]:
        return [kwargs for heard, kwargs in self.heard if heard == name]


def _hearing(name: str) -> Any:
    def method(self: Everything, **kwargs: Any) -> None:
        self.heard.append((name, kwargs))

    return method


for event in CALLBACK_EVENTS:
    setattr(Everything, event, _hearing(event))


def test_every_event_comes_with_what_it_promises(tmp_path: Path) -> None:
    ears = Everything()
    config = small().callbacks(ears).evaluation(evaluation_interval=2, evaluation_duration=3)
    with config.build_algo() as algo:
        algo.train()
        algo.train()
        path = algo.save_to_path(tmp_path / "here")
        algo.restore_from_path(path)
    assert set(ears.names()) == set(CALLBACK_EVENTS) - {"on_env_runners_recreated"}  # nobody died
    for name, kwargs in ears.heard:
        assert set(kwargs) == set(CALLBACK_EVENTS[name].keywords), name
        assert kwargs.get("algorithm", algo) is algo
    names = ears.names()
    assert names[:3] == ["on_environment_created", "on_environment_created", "on_algorithm_init"]
    made = ears.given("on_environment_created")
    assert isinstance(made[0]["env"], gym.Env)
    assert made[0]["env"] is not made[1]["env"]
    assert len(made) == 2 + 3  # those of evaluation too
    assert {one["worker_index"] for one in made} == {0}

    sampled = ears.given("on_sample_end")
    assert [one["is_evaluation"] for one in sampled] == [False, False, True]
    assert [one["num_env_steps"] for one in sampled[:2]] == [128, 128]
    assert sampled[0]["samples"]["default_policy"].num_steps == 64
    assert sampled[2]["env_runner_group"] is algo.evaluation.runners
    assert sampled[0]["env_runner_group"] is algo.env_runner_group

    ended = [one["episodes"] for one in ears.given("on_episode_end") if not one["is_evaluation"]]
    began = [one["episodes"] for one in ears.given("on_episode_start") if not one["is_evaluation"]]
    assert len(ended) <= 2
    assert sum(map(len, ended)) == sum(one["num_episodes"] for one in sampled[:2])
    assert sum(map(len, began)) == sum(map(len, ended)) + 2  # those that were open when the last sample ended
    assert all((one.return_ == one.length).all() for one in ended)
    assert began[0].env.tolist()[:2] == [0, 1]
    (played,) = [one["episodes"] for one in ears.given("on_episode_end") if one["is_evaluation"]]
    assert len(played) == 3
    created = [one["episodes"] for one in ears.given("on_episode_created")]
    assert [id(one) for one in created] == [id(one["episodes"]) for one in ears.given("on_episode_start")]


def test_nobody_is_told_what_nobody_wants_to_know() -> None:
    nobody = Callbacks(small().callbacks(on_train_result=lambda: None))
    events = nobody.of_runners(SimpleNamespace(), lambda: None, is_evaluation=False)
    assert (events.env_created, events.sampled) == (None, None)


def test_callbacks_do_not_change_what_is_learned() -> None:
    def learned(config: Any) -> Any:
        with config.build_algo() as algo:
            algo.train()
            return algo.learner_group.get_weights(inference_only=False).state["default_policy"]

    plain, heard = learned(small()), learned(small().callbacks(Everything))
    assert all(np.array_equal(plain[name], heard[name]) for name in plain)


def test_on_environment_created_may_change_the_env() -> None:
    def lengthen(env: Any, env_config: Any) -> None:
        env.unwrapped.gravity = 0.5

    for mode in ("auto", "gymnasium_sync"):
        config = small().callbacks(on_environment_created=lengthen).env_runners(gym_env_vectorize_mode=mode)
        with config.build_algo() as algo:
            envs = getattr(algo.env_runner.env, "envs")
            envs = getattr(envs, "envs", envs)
            assert [env.unwrapped.gravity for env in envs] == [0.5, 0.5]


# -- who may be called ------------------------------------------------------------------------------------------------


def of(methods: dict[str, Any]) -> type:
    return type("Mine", (RLlibCallback,), methods)


@pytest.mark.parametrize(
    ("callbacks", "says"),
    [
        ({"on_episode_step": print}, "wrap the env"),
        ({"callbacks_class": of({"on_episode_step": lambda self: None})}, r"wrap the env .*gymnasium\.Wrapper"),
        ({"callbacks_class": of({"on_episode_step": lambda self: None})()}, "wrap the env"),
        ({"callbacks_class": of({"on_episode_ended": lambda self: None})}, "Did you mean 'on_episode_end'"),
        ({"callbacks_class": RLlibCallback}, "has none of on_algorithm_init"),
        ({"callbacks_class": of({"on_train_result": 3})}, "is no function"),
        ({"on_episode_end": lambda episode: None}, "'episode', which is never given; episodes come as arrays"),
        ({"on_train_result": lambda metrics_logger, result: None}, "'metrics_logger'.*on_train_result"),
        ({"on_sample_end": lambda x: None}, "needs an argument 'x'.*it may take algorithm, env_runner_group"),
        ({"callbacks_class": of({"on_episode_end": lambda self, *, episode: None})}, "'episode'"),
        ({"callbacks_class": of({"on_episode_end": lambda self, *, env_index: None})()}, "'env_index'"),
        ({"on_train_result": [print, 3]}, "expected a function, got int"),
        ({"plugins": [3]}, "expected a name"),
    ],
)
def test_what_can_never_be_called_is_refused_at_once(callbacks: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        AlgorithmConfig().callbacks(**callbacks)


def test_what_is_written_for_rllib_is_taken() -> None:
    class Old(DefaultCallbacks):
        def on_train_result(self, *, algorithm: Any, metrics_logger: Any = None, result: Any, **kwargs: Any) -> None:
            result["mine"] = type(algorithm).__name__

        @staticmethod
        def on_environment_created(env: Any, env_context: Any, **kwargs: Any) -> None:
            env.seen = dict(env_context)

    with small().callbacks(callbacks_class=Old).build_algo() as algo:
        assert algo.env_runner.env.envs[0].seen == {}
        assert algo.train()["mine"] == "AC"


# -- ending training --------------------------------------------------------------------------------------------------


def test_false_ends_training_where_the_caller_sees_it() -> None:
    def enough(algorithm: Any, result: Any) -> bool:
        return result["training_iteration"] < 2

    with small().callbacks(on_train_result=enough).build_algo() as algo:
        assert "stopped_by" not in algo.train()
        stopped = algo.train()["stopped_by"]
        assert stopped.startswith("on_train_result=")
        assert stopped.endswith("enough")


@pytest.mark.parametrize("answer", [False, np.bool_(False)])
def test_false_in_the_middle_ends_the_iteration_after_its_step(answer: Any) -> None:
    calls: list[int] = []

    class Stops:
        def on_sample_end(self, num_env_steps: int) -> Any:
            calls.append(num_env_steps)
            return answer if len(calls) == 2 else None

    config = small().callbacks(Stops).reporting(min_sample_timesteps_per_iteration=1000)
    with config.build_algo() as algo:
        result = algo.train()
        assert calls == [128, 128]
        assert result["num_training_step_calls_per_iteration"] == 2
        assert result["stopped_by"].endswith("Stops.on_sample_end")
        assert "stopped_by" not in algo.train()  # who goes on, goes on
        assert sum(calls) == 256 + 1024


@pytest.mark.parametrize("answer", [None, True, 0, "", []])
def test_nothing_but_false_ends_it(answer: Any) -> None:
    with small().callbacks(on_train_result=lambda: answer).build_algo() as algo:
        assert "stopped_by" not in algo.train()


def test_observers_of_plugins_cannot_end_it() -> None:
    class Host:
        watchers = Watchers()

        def is_heard(self, hook: str) -> bool:
            return True

        def notify(self, hook: str, **kwargs: Any) -> list[bool]:
            return [False]

    callbacks = Callbacks(AlgorithmConfig(), Host())  # type: ignore[arg-type]
    result: Any = {}
    callbacks.on_train_result("algo", result)  # type: ignore[arg-type]
    assert (result, callbacks.stopped_by) == ({}, None)


# -- by name ----------------------------------------------------------------------------------------------------------


class Services:
    """A host that has one service."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def find_service(self, kind: str, name: str) -> Any:
        assert (kind, name) == ("callbacks", "acme/early-stop")
        return Registered(Service(kind, "early-stop", self.target), Origin("acme", "1.0"))

    def is_heard(self, hook: str) -> bool:
        return False


class EarlyStop:
    def on_train_result(self, algorithm: Any, result: Any) -> bool:
        result["by"] = self
        return False


@pytest.mark.covers("service:callbacks")
def test_a_plugins_callbacks_are_called_by_name_and_may_end_training() -> None:
    config = AlgorithmConfig().callbacks(plugins="acme/early-stop")
    assert config.plugins == ["acme/early-stop"]
    callbacks = Callbacks(config, Services(EarlyStop))  # type: ignore[arg-type]
    result: Any = {}
    callbacks.on_train_result("algo", result)  # type: ignore[arg-type]
    assert isinstance(result["by"], EarlyStop)
    assert result["stopped_by"] == "on_train_result=EarlyStop.on_train_result"
    assert result["timers"]["plugins"]["acme"] > 0
    with pytest.raises(PluginError, match=r"callbacks 'acme/early-stop'.*has none of"):
        Callbacks(config, Services(dict))  # type: ignore[arg-type]


def test_callbacks_that_nothing_supplies_are_refused_before_training() -> None:
    with pytest.raises(ConfigError, match=r"callbacks\(plugins=\['acme/early-stop'\]\).*the distribution 'acme'"):
        small().callbacks(plugins=["acme/early-stop"]).build_algo()
    with pytest.raises(PluginNotFoundError):
        Callbacks(AlgorithmConfig().callbacks(plugins=["acme/early-stop"]))


def test_a_checkpoint_names_objects_and_says_that_they_are_to_be_given_again(tmp_path: Path) -> None:
    with small().callbacks(Everything()).build_algo() as algo:
        path = algo.save_to_path(tmp_path / "here")
    with pytest.warns(UserWarning, match="callbacks_class: functions are not stored"):
        algo = type(algo).from_checkpoint(path)
    with algo:
        assert algo.config.callbacks_class == []


def test_agents_have_episodes_of_their_own_and_envs_are_told_of() -> None:
    ears = Everything()
    config = (
        small()
        .environment(MultiAgentCartPole, env_config={"num_agents": 2})
        .multi_agent(policies=["p0", "p1"], policy_mapping_fn=lambda agent, episode, **kwargs: f"p{agent}")
        .callbacks(ears)
    )
    with config.build_algo() as algo:
        algo.train()
    made = ears.given("on_environment_created")
    assert len(made) == 2
    assert all(one["env_config"] == {"num_agents": 2} for one in made)
    ended = ears.given("on_episode_end")[0]["episodes"]
    began = ears.given("on_episode_start")[0]["episodes"]
    assert set(ended.agent) == {0, 1}
    assert [f"p{agent}" for agent in ended.agent] == ended.module.tolist()
    assert (ended.return_ == ended.length).all()
    assert len(began) >= len(ended)
    (sampled,) = ears.given("on_sample_end")
    assert set(sampled["samples"]) == {"p0", "p1"}
