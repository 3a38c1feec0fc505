"""Where the time goes, by a clock that only moves where a test moves it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from actor_critic import ACConfig, ACLearner, ACModule
from rlkit_core import RLModuleSpec, Run, Stop, hookimpl
from rlkit_core.algorithm.profile import Profile
from rlkit_core.envs import stopwatch
from rlkit_core.plugins.host import default_host
from rlkit_core.testing import MultiAgentCartPole


class Clock:
    now = 0.0

    @classmethod
    def tick(cls, seconds: float) -> None:
        cls.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: Clock.now))


class Slow(gym.Env[Any, Any]):
    """Episodes of five steps: 1 s a step, 3 s a reset."""

    observation_space = gym.spaces.Box(0, 10, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        Clock.tick(3)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        Clock.tick(1)
        self.t += 1
        return np.full(1, self.t, np.float32), 1.0, self.t == 5, False, {}


class SlowModule(ACModule):
    def _forward_exploration(self, batch: Any, **kwargs: Any) -> Any:
        Clock.tick(0.5)
        return super()._forward_exploration(batch, **kwargs)


class SlowLearner(ACLearner):
    def compute_loss_for_module(self, **kwargs: Any) -> Any:
        Clock.tick(7)
        return super().compute_loss_for_module(**kwargs)


class Watches:
    """Takes 20 s for each result."""

    rlkit_api = "1.0"

    @hookimpl
    def rlkit_train_result(self, view: Any, result: Any) -> None:
        Clock.tick(20)


def config(**callbacks: Any) -> Any:
    return (
        ACConfig()
        .environment(Slow)
        .env_runners(num_envs_per_env_runner=2, rollout_fragment_length=10)
        .training(train_batch_size=20, minibatch_size=10, num_epochs=1)
        .learners(learner_class=SlowLearner, compile=None)
        .rl_module(model_config={"fcnet_hiddens": [4]}, rl_module_spec=RLModuleSpec(module_class=SlowModule))
        .debugging(seed=1)
        .callbacks(**callbacks)
    )


def ticks(seconds: float) -> Any:
    return lambda **kwargs: Clock.tick(seconds)


def test_every_second_belongs_to_one_part() -> None:
    algo = config(on_train_result=ticks(11), on_sample_end=ticks(13)).build_algo()
    algo.train()
    runner = algo.env_runner
    before = [dict(vars(one)) for one in (runner, runner.env, algo.timers, algo.callbacks, default_host().watchers)]
    started = Clock.now
    with default_host().temporary(Watches()), algo.profile() as profile:
        algo.train()
        algo.train()
    assert profile.env_steps == 40
    assert profile.seconds == Clock.now - started
    parts = dict(profile.parts)
    # 40 steps and the 8 resets behind their episodes; the learner's two minibatches in each iteration
    assert parts.pop("env") == 40 + 8 * 3
    assert parts.pop("acting") == 20 * 0.5
    assert parts.pop("learner") == 4 * 7
    assert parts.pop("callbacks") == 2 * (11 + 13)
    (watched,) = [name for name in parts if name.startswith("plugin ")]
    assert parts.pop(watched) == 2 * 20
    assert set(parts.values()) == {0.0}
    assert set(parts) == {"other", "sampling", "sync"}
    after = [dict(vars(one)) for one in (runner, runner.env, algo.timers, algo.callbacks, default_host().watchers)]
    assert [list(one) for one in before] == [list(one) for one in after]
    assert profile.parts == dict(sorted(profile.parts.items(), key=lambda one: -one[1]))
    algo.stop()


def test_the_table_and_the_figures_of_it() -> None:
    profile = Profile()
    profile.parts, profile.env_steps = {"env": 3.0, "learner": 1.0}, 1_000
    profile.runners, profile.num_runners = {"acting": 0.5, "idle": 0.5}, 2
    assert str(profile).splitlines() == [
        "where the time went: 4.00 s, 1,000 env steps",
        "  part       seconds   share   µs a step",
        "  env           3.00   75.0%     3000.00",
        "  learner       1.00   25.0%     1000.00",
        "in 2 runners elsewhere, each by its own clock, added up:",
        "  part      seconds   share   µs a step",
        "  acting       0.50   50.0%      500.00",
        "  idle         0.50   50.0%      500.00",
    ]
    assert profile.to_dict()["parts"]["env"] == {"seconds": 3.0, "share": 0.75, "us_per_env_step": 3000.0}


def test_a_run_says_it_in_a_file_with_what_stands_around_training(tmp_path: Path) -> None:
    asked = config(on_algorithm_init=ticks(5), on_checkpoint_saved=ticks(17)).evaluation(evaluation_duration=2)
    started = Clock.now
    run = Run(asked, tmp_path / "run", stop=Stop(iterations=2), evaluation_episodes=4, plot=False, profile=True)
    run.fit()
    assert run.profile is not None
    said = json.loads((tmp_path / "run" / "profile.json").read_text())
    assert said == run.profile.to_dict()
    assert said["seconds"] == Clock.now - started
    seconds = {name: part["seconds"] for name, part in said["parts"].items()}
    assert seconds["building"] >= 5
    assert seconds["callbacks"] == 17
    assert seconds["env"] == 40 + (2 + 8) * 3
    assert seconds["evaluation"] >= 4 * 5
    assert {"logs", "checkpoints"} <= set(seconds)
    assert said["parts"]["env"]["us_per_env_step"] == pytest.approx(1e6 * seconds["env"] / 40)


def test_without_it_nothing_is_written(tmp_path: Path) -> None:
    run = Run(config(), tmp_path / "run", stop=Stop(iterations=1), evaluation_episodes=1, plot=False)
    run.fit()
    assert run.profile is None
    assert not (tmp_path / "run" / "profile.json").exists()


class SlowAgents(MultiAgentCartPole):
    made: list[SlowAgents] = []

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.steps = 0

    def step(self, actions: Any) -> Any:
        Clock.tick(1)
        if not self.steps:
            self.made.append(self)
        self.steps += 1
        if len(self.made) == 1 and self.steps == 20:
            raise RuntimeError("once")
        return super().step(actions)


@pytest.fixture
def made() -> Iterator[list[SlowAgents]]:
    SlowAgents.made.clear()
    yield SlowAgents.made
    SlowAgents.made.clear()


def test_envs_with_several_agents_are_told_from_acting_also_when_made_anew(made: list[SlowAgents]) -> None:
    asked = (
        ACConfig()
        .environment(SlowAgents, env_config={"num_agents": 2})
        .env_runners(num_envs_per_env_runner=1, rollout_fragment_length=16)
        .training(train_batch_size=16, minibatch_size=16, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .fault_tolerance(restart_failed_sub_environments=True)
        .debugging(seed=1)
    )
    algo = asked.build_algo()
    with algo.profile() as profile:
        for _ in range(4):
            algo.train()
    assert len(made) == 2
    assert profile.parts["env"] >= 20 + 32  # the rest of the rollout in which it failed is not told from acting
    assert profile.parts["env"] + profile.parts["acting"] == made[0].steps + made[1].steps
    algo.stop()
