"""An executor of a third party is treated as ours are, for nobody asks for its class."""

from __future__ import annotations

import pytest
import torch
from thread_executor import ThreadExecutor

from rlkit_core import LearnerGroup
from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.errors import ConfigError, PluginNotFoundError
from rlkit_core.execution import LocalExecutor, make_executor
from rlkit_core.execution.conformance import ExecutorContract
from rlkit_core.plugins.discovery import Snapshot, scan
from rlkit_core.plugins.host import PluginHost, use_host
from rlkit_core.testing import BCConfigTest


class TestThreads(ExecutorContract):
    def make_executor(self):
        return ThreadExecutor()


def bc(**learners):
    config = BCConfigTest().environment("CartPole-v1").training(lr=0.01).debugging(seed=2)
    return config.learners(**learners)


@pytest.mark.covers("service:executor")
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


def test_the_learner_of_this_process_needs_no_executor():
    with pytest.raises(ConfigError, match=r"executor=LocalExecutor.*num_learners=0"):
        LearnerGroup(config=bc(), executor=LocalExecutor())


def test_without_the_distribution_the_line_to_install_is_said_before_anything_starts(monkeypatch):
    monkeypatch.setenv("RLKIT_PLUGINS_DISABLE", "rlkit-processes")
    with use_host(PluginHost()):
        for config in (bc(num_learners=2), bc().env_runners(num_env_runners=2)):
            with pytest.raises(ConfigError, match="pip install rlkit-processes"):
                config.validate()
        with pytest.raises(PluginNotFoundError, match="pip install rlkit-processes"):
            make_executor("auto")
        assert not [problem for problem in bc().problems() if "executor" in problem]


def test_learners_elsewhere_name_the_distribution_that_runs_them():
    others = [info for info in scan().distributions if info.name != "rlkit-processes"]
    with use_host(PluginHost(Snapshot(others))):
        with pytest.raises(ConfigError, match=r"learners\(num_learners=1\): .*pip install rlkit-processes"):
            bc(num_learners=1).execution(executor="local").validate()
        with pytest.raises(PluginNotFoundError, match=r"learner group .*pip install rlkit-processes"):
            LearnerGroup(config=bc(num_learners=1))
