"""Callbacks with runners in processes: what runs there, what runs in the driver, and what cannot travel."""

from __future__ import annotations

import os
import signal
import threading

import gymnasium as gym
import numpy as np
import pytest

from actor_critic import ACConfig
from rlkit_core import RLModuleSpec
from rlkit_core.errors import ConfigError


class Marked(gym.Env):
    """Episodes of five steps; a success where the callback has marked the env in this very process."""

    observation_space = gym.spaces.Box(0, 10, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    mark = None

    def __init__(self, deadly=False):
        self.deadly = deadly

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        info = {"is_success": self.mark == os.getpid()} if self.t == 5 else {}
        return np.full(1, self.t, np.float32), 1.0, self.t == 5, False, info


def config(**callbacks):
    return (
        ACConfig()
        .environment(Marked)
        .env_runners(num_env_runners=2, num_envs_per_env_runner=2, rollout_fragment_length=16)
        .training(train_batch_size=64, minibatch_size=64, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .debugging(seed=1)
        .callbacks(**callbacks)
    )


class Listens:
    """Marks envs where they are made, and keeps in the driver what it is told."""

    def __init__(self):
        self.heard = []

    def on_environment_created(self, env, worker_index, **kwargs):
        env.mark = os.getpid()
        self.heard.append(("made", worker_index))  # of the copy in the runner's process

    def on_sample_end(self, worker_index, num_env_steps, num_episodes):
        self.heard.append((worker_index, num_env_steps, num_episodes))

    def on_episode_end(self, episodes):
        self.heard.append(episodes)

    def on_env_runners_recreated(self, env_runner_indices, is_evaluation):
        self.heard.append(("again", env_runner_indices, is_evaluation))


def test_envs_are_told_of_where_they_are_made_and_episodes_in_the_driver():
    ears = Listens()
    with config(callbacks_class=ears).evaluation(evaluation_num_env_runners=1).build_algo() as algo:
        result = algo.train()
        assert result["env_runners"]["is_success_mean"] == 1.0
        first, one, second, two = ears.heard
        assert (one, two) == ((1, 32, 6), (2, 32, 6))
        for episodes, index in ((first, 1), (second, 2)):
            assert episodes.worker_index.tolist() == [index] * 6
            assert sorted(episodes.env.tolist()) == [0, 0, 0, 1, 1, 1]
            assert episodes.length.tolist() == [5] * 6
            assert episodes.info["is_success"].tolist() == [1.0] * 6
            assert set(episodes.agent) == {"default_agent"}
        ears.heard.clear()
        metrics = algo.evaluate(4)
        assert metrics["env_runners"]["is_success_mean"] == 1.0
        assert [len(ears.heard[0]), ears.heard[1]] == [4, (1, 20, 4)]


@pytest.mark.slow
def test_runners_that_were_started_again_are_told_of():
    ears = Listens()
    with config(callbacks_class=ears).build_algo() as algo:
        algo.train()
        os.kill(algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid())[1], signal.SIGKILL)
        ears.heard.clear()
        result = algo.train()
        assert result["env_runners"]["is_success_mean"] == 1.0  # the new one's envs were marked too
    assert [item for item in ears.heard if isinstance(item, tuple) and item[0] == "again"] == [("again", [2], False)]


@pytest.mark.slow
def test_callbacks_that_cannot_be_sent_stay_in_the_driver_beside_learners_elsewhere():
    lock, heard = threading.Lock(), []

    def hear(result):
        with lock:
            heard.append(result["training_iteration"])

    with config(on_train_result=hear).learners(num_learners=1).build_algo() as algo:
        algo.train()
        algo.add_module("another", RLModuleSpec())
        algo.train()
        assert algo.config.on_train_result == [hear]
    assert heard == [1, 2]


def test_a_callback_that_cannot_travel_is_refused_at_build():
    lock = threading.Lock()

    def locked(env):
        with lock:
            env.mark = 1

    with pytest.raises(ConfigError, match=r"on_environment_created=.*locked\) cannot be sent.*lock.*num_env_runners=0"):
        config(on_environment_created=locked).build_algo()
    with (
        config(on_environment_created=locked, on_train_result=lambda: lock.locked())
        .env_runners(num_env_runners=0)
        .build_algo() as algo
    ):
        algo.train()
