"""An executor of a third party is treated as ours are, for nobody asks for its class."""

from __future__ import annotations

import concurrent.futures
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import LearnerGroup
from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.errors import ActorError, ConfigError, PluginNotFoundError
from rlkit_core.execution import LocalPublished, make_executor
from rlkit_core.execution.conformance import ExecutorContract
from rlkit_core.plugins.host import PluginHost, use_host
from rlkit_core.testing import BCConfigTest

OBS = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)


class ThreadActor:
    def __init__(self, factory, args, kwargs):
        self.recipe = (factory, args, kwargs)
        self.alive, self._instance = True, None
        self._thread = ThreadPoolExecutor(1)
        self.ready = self._thread.submit(self._make)

    def _make(self):
        factory, args, kwargs = self.recipe
        self._instance = factory(*args, **kwargs)

    def call(self, method, /, *args, **kwargs):
        if self.alive:
            return self._thread.submit(self._run, method, args, kwargs)
        future = Future()
        future.set_exception(ActorError("the actor was stopped"))
        return future

    def _run(self, method, args, kwargs):
        self.ready.result()
        if callable(method):
            return method(self._instance, *args, **kwargs)
        return getattr(self._instance, method)(*args, **kwargs)

    def stop(self):
        if self.alive:
            self.alive = False
            stop = getattr(self._instance, "stop", None)
            if stop is not None:
                self._thread.submit(stop)
            self._thread.shutdown()


class ThreadExecutor:
    in_process = True
    concurrent = True

    def __init__(self):
        self.threads = None
        self._actors = []

    def spawn(self, factory, /, *args, **kwargs):
        self._actors.append(ThreadActor(factory, args, kwargs))
        return self._actors[-1]

    def published(self):
        return LocalPublished()

    def wait(self, futures, *, timeout=None):
        done, _ = concurrent.futures.wait(futures, timeout, concurrent.futures.FIRST_COMPLETED)
        return [f for f in futures if f in done], [f for f in futures if f not in done]

    def restart(self, handle):
        handle.stop()
        factory, args, kwargs = handle.recipe
        return self.spawn(factory, *args, **kwargs)

    def stop(self, handle=None):
        for actor in self._actors if handle is None else [handle]:
            actor.stop()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


class TestThreads(ExecutorContract):
    def make_executor(self):
        return ThreadExecutor()


def bc(**learners):
    config = BCConfigTest().environment("CartPole-v1").training(lr=0.01).debugging(seed=2)
    return config.learners(**learners)


def rows(count=32):
    obs = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
    return {"default_policy": {"obs": obs, "actions": (obs[:, 0] > 0).long()}}


def weights_of(learner):
    return torch.cat([p.detach().reshape(-1) for p in learner.module.parameters()])


def test_learners_in_threads_average_their_gradients():
    config = bc(num_learners=2).environment(
        observation_space=gym.spaces.Box(-1.0, 1.0, (4,), np.float32), action_space=gym.spaces.Discrete(2)
    )
    threads = torch.get_num_threads()
    with ThreadExecutor() as executor:
        group = LearnerGroup(config=config, executor=executor)
        begun = group.foreach_learner(weights_of)
        assert torch.equal(*begun)
        assert len(set(group.foreach_learner(lambda learner: threading.get_ident()))) == 2
        for _ in range(3):
            result = group.update(rows())["default_policy"]
        assert result["num_module_steps_trained"] == 32
        ended = group.foreach_learner(weights_of)
        assert torch.equal(*ended)
        assert not torch.equal(begun[0], ended[0])
        group.shutdown()
    assert torch.get_num_threads() == threads  # which they share with this process


def test_runners_in_threads_sample_beside_each_other():
    config = bc().env_runners(num_env_runners=2, num_envs_per_env_runner=2, rollout_fragment_length=5)
    with ThreadExecutor() as executor:
        group = EnvRunnerGroup(config, executor=executor)
        whole = group.sample(num_timesteps=40)["default_policy"]
        assert (whole.num_steps, whole.num_envs) == (10, 4)
        kept = []
        while len(kept) < 6:
            kept += [one["default_policy"] for one in group.sample_async()]
        copies = [rollout["obs"].clone() for rollout in kept]
        group.sample_async()
        assert all(torch.equal(rollout["obs"], copy) for rollout, copy in zip(kept, copies, strict=True))
        assert len({rollout["obs"].data_ptr() for rollout in kept}) == len(kept)  # the caller's own
        group.stop()


def test_without_the_distribution_the_line_to_install_is_said_before_anything_starts(monkeypatch):
    monkeypatch.setenv("RLKIT_PLUGINS_DISABLE", "rlkit-processes")
    with use_host(PluginHost()):
        for config in (bc(num_learners=2), bc().env_runners(num_env_runners=2)):
            with pytest.raises(ConfigError, match="pip install rlkit-processes"):
                config.validate()
        with pytest.raises(PluginNotFoundError, match="pip install rlkit-processes"):
            make_executor("auto")
        assert not [problem for problem in bc().problems() if "executor" in problem]
