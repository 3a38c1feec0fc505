"""Runners that are slow, that die, and whose envs raise."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from actor_critic import ACConfig
from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.errors import ActorError, EnvError
from rlkit_core.rl_module import RLModuleSpec
from rlkit_core.rl_module.weights import Weights
from rlkit_core.seeding import SeedTree


class WheelError(Exception):
    """What the env raises; known to this module alone."""

    def __init__(self, what, wheel):
        super().__init__(what)
        self.wheel = wheel


class Faulty(gym.Env):
    """Episodes of 10 steps. At step 3 it waits while ``hold`` exists; ``kill`` and ``fail`` say what happens then.

    ``kill`` is a folder: the first ``deaths`` processes that get there die, each leaving a file.
    """

    observation_space = gym.spaces.Box(0, 10, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, kill=None, deaths=1, fail=False):
        self.kill, self.deaths, self.fail, self.hold = kill, deaths, fail, None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        if self.t == 3:
            while self.hold is not None and Path(self.hold).exists():
                time.sleep(0.01)
            if self.kill is not None:
                for death in range(self.deaths):
                    try:
                        os.close(os.open(Path(self.kill) / str(death), os.O_CREAT | os.O_EXCL))
                    except FileExistsError:
                        continue
                    os.kill(os.getpid(), signal.SIGKILL)
            if self.fail:
                raise WheelError("the wheel came off", 3)
        return np.full(1, self.t, np.float32), 1.0, self.t == 10, False, {}


def config(runners=2, **env_config):
    return (
        ACConfig()
        .environment(Faulty, env_config=env_config)
        .env_runners(num_env_runners=runners, rollout_fragment_length=8, num_envs_per_env_runner=1)
        .training(train_batch_size=8 * runners, minibatch_size=8, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .debugging(seed=1)
    )


def group_of(made):
    group = EnvRunnerGroup(made, seeds=SeedTree(1))
    group.sync_weights(Weights(7, {"default_policy": group.module["default_policy"].get_state()}))
    return group


def test_a_slow_runner_does_not_delay_the_others(tmp_path):
    hold = tmp_path / "hold"
    hold.touch()
    group = group_of(config().env_runners(max_requests_in_flight_per_env_runner=2))

    def slow(runner):
        if runner.worker_index == 2:
            runner.env.envs[0].unwrapped.hold = hold

    try:
        group.foreach_env_runner(slow)
        rollouts = []
        while len(rollouts) < 12:  # all of them from the other runner: this one stands still
            rollouts += group.sample_async()
        assert group.sample_async(timeout=0) is not None
        before = group.num_env_steps_sampled_lifetime
        hold.unlink()
        deadline = time.monotonic() + 60
        counts = []
        while time.monotonic() < deadline:
            counts += [len(group.sample_async())]
            if min(steps(group)) >= 16:
                break
        assert min(steps(group)) >= 16  # both of the slow one's requests came
        assert group.num_env_steps_sampled_lifetime == before + 8 * sum(counts)
        assert {r["default_policy"].weights_version for r in rollouts} == {7}
        first = rollouts[0]["default_policy"]["obs"].clone()
        assert first.flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7]  # nothing has been written over
    finally:
        hold.unlink(missing_ok=True)
        group.stop()


def steps(group):
    return group.foreach_env_runner(lambda runner: runner.stats.num_env_steps_lifetime)


def test_in_this_process_asynchronous_sampling_is_lock_step():
    def run():
        group = group_of(config().execution(executor="local"))
        return [r["default_policy"] for _ in range(3) for r in group.sample_async()]

    first, second = run(), run()
    assert len(first) == 6
    assert all((a["actions"] == b["actions"]).all() for a, b in zip(first, second, strict=True))
    assert first[0]["obs"].flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7]  # a copy
    assert first[2]["obs"].flatten().tolist() == [8, 9, 0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("how", ["together", pytest.param("asynchronously", marks=pytest.mark.slow)])
def test_a_killed_runner_is_started_again_with_the_current_weights(tmp_path, how):
    group = group_of(config(kill=str(tmp_path)))
    try:
        if how == "together":
            rollout = group.sample()["default_policy"]
            assert (rollout.num_steps, rollout.num_envs) == (8, 2)
            versions = [rollout.weights_version]
        else:
            rollouts = []
            while group.get_fault_metrics()["num_env_runner_restarts"] == 0 or len(rollouts) < 6:
                rollouts += group.sample_async()
            versions = {r["default_policy"].weights_version for r in rollouts}
            assert group.num_env_steps_sampled_lifetime == 8 * len(rollouts)
        assert set(versions) == {7}
        assert os.listdir(tmp_path) == ["0"]
        assert group.get_fault_metrics() == {
            "num_healthy_env_runners": 2,
            "num_env_runner_restarts": 1,
            "num_env_runners_lost": 0,
            "num_env_restarts": 0,
        }
        assert len(group.foreach_env_runner(lambda runner: runner.worker_index)) == 2
    finally:
        group.stop()


@pytest.mark.slow
def test_a_runner_that_is_started_again_has_the_modules_of_the_others(tmp_path):
    group = group_of(config(kill=str(tmp_path)))
    try:
        spec = RLModuleSpec(model_config={"fcnet_hiddens": [4]}, observation_space=Faulty.observation_space)
        spec.action_space = Faulty.action_space
        group.set_modules(
            group.module_set.with_module("p2", spec, mapping_fn=lambda agent_id, episode: "p2").without(
                "default_policy"
            )
        )
        group.sync_weights(Weights(8, {}))  # no learner has it: its weights are the driver's
        assert list(group.sample()) == ["p2"]
        assert group.get_fault_metrics()["num_env_runner_restarts"] == 1
        expected = group.module["p2"].get_state()
        for state in group.foreach_env_runner(lambda runner: dict(runner.module.get_state())):
            assert list(state) == ["p2"]
            assert all(np.array_equal(value, expected[name]) for name, value in state["p2"].items())
    finally:
        group.stop()


@pytest.mark.slow
def test_training_counts_restarts_and_goes_on_without_a_runner_where_it_may(tmp_path):
    made = config(kill=str(tmp_path), deaths=2).fault_tolerance(
        max_num_env_runner_restarts=1, ignore_env_runner_failures=True
    )
    with made.build() as algo:
        results = [algo.train() for _ in range(2)]
    assert results[-1]["fault_tolerance"] == {
        "num_healthy_env_runners": 1,
        "num_env_runner_restarts": 1,
        "num_env_runners_lost": 1,
    }
    assert results[-1]["num_env_steps_sampled_lifetime"] in (16, 24)


@pytest.mark.parametrize(
    ("deaths", "settings", "says"),
    [
        (1, {"restart_failed_env_runners": False}, "restart_failed_env_runners=False"),
        pytest.param(9, {}, "3 times in a row", marks=pytest.mark.slow),
    ],
)
def test_a_runner_that_may_not_be_started_again_is_an_error(tmp_path, deaths, settings, says):
    group = group_of(config(runners=1, kill=str(tmp_path), deaths=deaths).fault_tolerance(**settings))
    try:
        with pytest.raises(ActorError, match=says) as caught:
            group.sample()
        assert "signal 9" in str(caught.value)
        assert len(os.listdir(tmp_path)) == (1 if settings else 3)
    finally:
        group.stop()


def test_an_env_that_raises_is_raised_with_traceback_seed_and_action():
    group = group_of(config(runners=1, fail=True).env_runners(restart_failed_sub_environments=False))
    try:
        with pytest.raises(EnvError, match=r"WheelError at a step with action .* seed \d+: the wheel") as caught:
            group.sample()
        assert isinstance(caught.value, WheelError)
        assert caught.value.wheel == 3
        text = str(caught.value.__cause__)
        assert "WheelError: the wheel came off" in text
        assert "in step" in text
        assert "runner 1" in str(caught.value)
        assert group.get_fault_metrics()["num_env_runner_restarts"] == 0
    finally:
        group.stop()
