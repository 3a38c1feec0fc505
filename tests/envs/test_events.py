"""What runners tell of episodes: arrays once per sample, and metrics from the last info of each episode."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from actor_critic import ACConfig
from rlkit_core.envs import EnvRunner, EnvRunnerGroup
from rlkit_core.envs.events import EpisodeArrays, RunnerEvents
from rlkit_core.envs.gym_vectors.classes import GymVectorEnv
from rlkit_core.envs.vector import InlineVectorEnv
from rlkit_core.errors import ConfigError, EnvError


class Counted(gym.Env):
    """Episodes of 2, 3, 4, 2, 3, 4 ... steps of reward 1; every second one is a success, and so its info says."""

    observation_space = gym.spaces.Box(-10, 10, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, wrong: object = None, late: bool = False) -> None:
        self.episode, self.wrong, self.late = -1, wrong, late

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.episode += 1
        self.t = 0
        return np.zeros(1, np.float32), {"is_success": 9.0, "height": 9.0}

    def step(self, action: Any) -> Any:
        self.t += 1
        over = self.t == 2 + self.episode % 3
        info: dict[str, Any] = {"height": 10.0 * self.episode + self.t}
        if over:
            info["is_success"] = self.wrong if self.wrong is not None else self.episode % 2 == 1
        if self.late and self.episode == 0:
            info = {}
        return np.full(1, self.t, np.float32), 1.0, over and self.episode % 2 == 0, over and self.episode % 2 == 1, info


LENGTHS = [2, 3, 4, 2, 3, 4]


def config(**env_config: Any) -> Any:
    return (
        ACConfig()
        .environment(Counted, env_config=env_config)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .env_runners(num_envs_per_env_runner=2)
        .reporting(info_metrics=["is_success", "height"])
        .debugging(seed=1)
    )


def rows(arrays: EpisodeArrays) -> list[tuple[Any, ...]]:
    return list(zip(arrays.env.tolist(), arrays.return_.tolist(), arrays.length.tolist(), strict=True))


@pytest.mark.parametrize("mode", ["auto", "gymnasium_sync", "async", "next step"])
@pytest.mark.parametrize("steps", [1, 2, 5, 40])
def test_episodes_that_ended_and_began_in_whatever_pieces_they_are_sampled(
    mode: str, steps: int, request: pytest.FixtureRequest
) -> None:
    if alone := mode == "next step":
        request.getfixturevalue("next_step_resets")
        mode = "gymnasium_sync"
    runner = EnvRunner(config().env_runners(gym_env_vectorize_mode=mode), worker_index=3)
    try:
        ended, began = [], []
        for _ in range(40 // steps):
            runner.sample(num_timesteps=2 * steps)
            report = runner.episodes
            assert report.returns == report.ended.return_.tolist()
            assert report.lengths == report.ended.length.tolist()
            ended.append(report.ended)
            began.append(report.began)
        all_ended, all_began = EpisodeArrays.concat(ended), EpisodeArrays.concat(began)
        metrics = runner.get_metrics()
    finally:
        runner.stop()
    count = len(all_ended) // 2
    assert count == (10 if alone else 13)  # a reset takes a step of its own in one of them
    for n in (0, 1):
        mine = all_ended.env == n
        assert all_ended.length[mine].tolist() == [2 + k % 3 for k in range(count)]
        assert all_ended.info["is_success"][mine].tolist() == [k % 2 for k in range(count)]
        assert all_ended.info["height"][mine].tolist() == [10 * k + 2 + k % 3 for k in range(count)]
        # The next one has begun, unless its reset is yet to come.
        assert (all_began.env == n).sum() in (count, count + 1)
    assert set(all_ended.agent) == {"default_agent"}
    assert set(all_ended.module) == {"default_policy"}
    assert set(all_ended.worker_index) == {3}
    assert not all_began.length.any()
    assert metrics["is_success_mean"] == np.mean([k % 2 for k in range(count)])
    assert metrics["height_mean"] == np.mean([10 * k + 2 + k % 3 for k in range(count)])


def test_gymnasiums_same_step_reset_hides_the_info_in_final_info() -> None:
    mode = gym.vector.AutoresetMode.SAME_STEP
    envs = gym.vector.SyncVectorEnv([Counted, Counted, lambda: Counted(late=True)], autoreset_mode=mode)
    env = GymVectorEnv(envs, ["is_success", "height"])
    plain = InlineVectorEnv([Counted, Counted, lambda: Counted(late=True)], None, ["is_success", "height"])
    for one in (env, plain):
        obs, flags = np.zeros((3, 1), np.float32), np.zeros((3, 3), np.float32)
        one.reset([None] * 3, obs)
        for _ in range(9):
            one.step(np.zeros(3, np.int64), obs, flags[0], flags[1].astype(bool), flags[2].astype(bool))
        one.close()
    assert len(plain.ended_infos) == 9
    assert {} in plain.ended_infos
    assert env.ended_infos == plain.ended_infos


def test_whole_episodes_and_evaluation_have_them_too() -> None:
    runner = EnvRunner(config())
    runner.sample(num_episodes=5)
    report = runner.episodes
    assert sorted(rows(report.ended)) == [(0, 2.0, 2), (0, 3.0, 3), (0, 4.0, 4), (1, 2.0, 2), (1, 3.0, 3)]
    assert len(report.began) == 5
    result = runner.run_episodes(4)
    assert 0.0 <= result["is_success_mean"] <= 1.0
    runner.stop()


def test_a_group_counts_over_its_window_and_tells_each_sample_once() -> None:
    told: list[Any] = []
    events = RunnerEvents(sampled=lambda report, steps, rollouts: told.append((report, steps, list(rollouts))))
    made = config().reporting(metrics_num_episodes_for_smoothing=3)
    group = EnvRunnerGroup(made, events=events)
    try:
        group.sample(num_timesteps=24)
        group.sample(num_timesteps=2)
        assert [steps for _, steps, _ in told] == [24, 2]
        assert told[0][2] == ["default_policy"]
        successes = told[0][0].ended.info["is_success"].tolist()
        assert len(successes) == 8  # the last ones that ended: episodes 3 of both envs, and of env 1 the one before
        assert group.get_metrics()["is_success_mean"] == np.mean(successes[-3:])
        state = group.stats.get_state()
        played = group.run_episodes(3)
        assert {"is_success_mean", "height_mean"} <= played.keys()
        assert (told[2][1], told[2][2]) == (sum(told[2][0].lengths), [])
        again = type(group.stats)(1, 3)
        again.set_state(state)
        assert again.result()["is_success_mean"] == group.get_metrics()["is_success_mean"]
    finally:
        group.stop()


def test_an_env_without_metrics_has_no_results_of_them() -> None:
    runner = EnvRunner(config().environment("CartPole-v1", env_config={}))
    runner.sample(num_timesteps=400)
    assert runner.episodes.returns
    assert runner.episodes.ended.info == {}
    assert not [name for name in runner.get_metrics() if name.startswith(("is_success", "height"))]
    runner.stop()


def test_a_metric_that_is_no_number_says_so() -> None:
    runner = EnvRunner(config(wrong="yes"))
    with pytest.raises(EnvError, match=r"env 0 .*info\['is_success'\] .* is 'yes', expected a number.*info_metrics"):
        runner.sample(num_timesteps=20)
    runner.stop()
    nothing = EnvRunner(config(wrong="yes").reporting(info_metrics=[]))
    nothing.sample(num_timesteps=20)
    assert nothing.episodes.ended.info == {}
    nothing.stop()


@pytest.mark.parametrize(
    ("value", "says"),
    [("is_success", "expected names"), ([3], "got 3 among them"), (["episode_return"], "is a result already")],
)
def test_names_of_metrics_are_checked(value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        config().reporting(info_metrics=value)


def test_arrays_join_with_gaps_as_nan() -> None:
    one = EpisodeArrays.of_one(
        np.array([0]), agent="a", module="p", worker_index=1, returns=np.ones(1), infos=[{"x": 2.0}]
    )
    both = EpisodeArrays.concat([one, EpisodeArrays(), one.begun()])
    assert rows(both) == [(0, 1.0, 0), (0, 0.0, 0)]
    assert both.info["x"][0] == 2.0
    assert math.isnan(both.info["x"][1])
