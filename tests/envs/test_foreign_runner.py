"""Rollouts from a class that steps no env of ours: what it is told, what is checked, what is counted and kept."""

from __future__ import annotations

import sys

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import AC, ACConfig
from rlkit_core import Columns
from rlkit_core.data import Rollout
from rlkit_core.errors import ConfigError
from rlkit_core.protocols import EnvRunner

OBS, ACTIONS = gym.spaces.Box(-1.0, 1.0, (3,), np.float32), gym.spaces.Discrete(2)


class Counting(EnvRunner):
    """Episodes of 5 steps, in which the k-th step is rewarded with k; acts with the module."""

    module_ids, width = ("__env__",), 3

    def __init__(self, config, *, worker_index):
        self.worker_index, self.at, self.told, self.asked, self.stopped = worker_index, 0, [], [], False

    def get_spaces(self):
        return dict.fromkeys(self.module_ids, (OBS, ACTIONS))

    def set_weights(self, modules, version):
        self.modules = modules
        self.told.append(version)

    def sample(self, *, num_timesteps, explore, timestep):
        self.asked.append((num_timesteps, explore, timestep))
        ids = [mid for mid in self.module_ids if mid != "__env__"]
        rollouts = {mid: self.rollout(num_timesteps, mid) for mid in ids or self.modules.keys()}
        self.at += num_timesteps
        return rollouts if ids else next(iter(rollouts.values()))

    def rollout(self, steps, module_id):
        k = (self.at + torch.arange(steps)) % 5
        obs = (k / 5.0).view(-1, 1, 1).repeat(1, 1, self.width)
        with torch.no_grad():
            out = self.modules[module_id].forward_exploration({Columns.OBS: obs.flatten(0, 1)})
        inputs = out[Columns.ACTION_DIST_INPUTS]
        columns = {
            Columns.OBS: obs,
            Columns.ACTIONS: inputs.argmax(-1).view(steps, 1),
            Columns.ACTION_DIST_INPUTS: inputs.view(steps, 1, -1),
            Columns.ACTION_LOGP: torch.log_softmax(inputs, -1).amax(-1).view(steps, 1),
            Columns.REWARDS: k.float().view(steps, 1),
            Columns.TERMINATEDS: (k == 4).view(steps, 1),
            Columns.TRUNCATEDS: torch.zeros(steps, 1, dtype=torch.bool),
        }
        return Rollout(columns, bootstrap_obs=torch.zeros(1, self.width), weights_version=self.told[-1])

    def get_state(self):
        return {"at": self.at}

    def set_state(self, state):
        self.at = int(state["at"])

    def stop(self):
        self.stopped = True


def config(cls=Counting, env=None, **runners):
    made = ACConfig().environment(env).env_runners(env_runner_cls=cls, rollout_fragment_length=7)
    made.env_runners(**{"num_envs_per_env_runner": 1, **runners})
    return (
        made.training(train_batch_size=14, minibatch_size=7)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .debugging(seed=1)
    )


def test_it_is_told_of_weights_and_asked_for_steps_and_its_episodes_are_counted():
    with config().build_algo() as algo:
        own = algo.env_runner.own
        for _ in range(5):
            result = algo.train()
        assert own.told == [0, 1, 2, 3, 4]
        assert own.asked == [(7, True, 7 * k) for k in range(5)]
        assert own.modules is algo.env_runner_group.module
    assert own.stopped
    assert result["num_env_steps_sampled_lifetime"] == 35
    assert result["env_runners"]["num_episodes_lifetime"] == 7
    assert result["env_runners"]["episode_return_mean"] == 10.0  # though every second one spans two rollouts
    assert result["env_runners"]["episode_len_max"] == 5
    assert np.isfinite(result["learners"]["default_policy"]["total_loss"])


def test_several_run_elsewhere_and_are_joined():
    with config(num_env_runners=2).execution(executor="local").build_algo() as algo:
        result = algo.train()
        indices = algo.env_runner_group.foreach_env_runner(lambda runner: runner.own.worker_index)
    assert indices == [1, 2]
    assert result["num_env_steps_sampled_lifetime"] == 14
    assert result["env_runners"]["num_episodes_lifetime"] == 2


class Two(Counting):
    module_ids = ("left", "right")


def test_rollouts_of_several_modules():
    made = config(Two).multi_agent(policies=["left", "right"])
    with made.build_algo() as algo:
        result = algo.train()
    assert result["learners"].keys() >= {"left", "right"}
    assert result["num_env_steps_sampled_lifetime"] == 7
    assert result["env_runners"]["module_episode_returns_mean"] == {"left": 10.0, "right": 10.0}


class AsCartPole(Counting):
    width = 4

    def get_spaces(self):
        env = gym.make("CartPole-v1")
        return {"__env__": (env.observation_space, env.action_space)}


def test_evaluation_plays_in_the_env_where_there_is_one():
    with config(AsCartPole, env="CartPole-v1").build_algo() as algo:
        played = algo.evaluate(2)["env_runners"]
        assert type(algo.env_runner_group.local_env_runner.own) is AsCartPole
        assert played["num_episodes"] == 2
    with config().build_algo() as algo, pytest.raises(ConfigError, match=r"Counting\): such a runner plays no whole"):
        algo.evaluate(1)


def test_without_an_env_evaluation_may_count_its_steps():
    made = config().evaluation(evaluation_duration=20, evaluation_duration_unit="timesteps")
    with made.build_algo() as algo:
        assert algo.evaluate()["env_runners"]["episode_return_mean"] == 10.0
        assert not algo.eval_env_runner_group.local_env_runner.own.asked[0][1]  # to explore


def test_a_resumed_run_goes_on_where_it_was(tmp_path):
    with config().build_algo() as algo:
        for _ in range(3):
            algo.train()
        path = algo.save_to_path(tmp_path / "checkpoint")
        expected = [algo.train() for _ in range(2)]
    with AC.from_checkpoint(path, classes=[Counting]) as resumed:
        assert resumed.env_runner.own.at == 21
        found = [resumed.train() for _ in range(2)]
    for before, after in zip(expected, found, strict=True):
        assert after["learners"] == before["learners"]
        assert after["env_runners"]["episode_return_min"] == before["env_runners"]["episode_return_min"] == 10.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: [r], "expected a Rollout, or a dict of them, got list"),
        (lambda r: {"nobody": r}, "one of 'nobody'"),
        (lambda r: (r.columns.pop("rewards"), r)[1], "none named 'rewards'"),
        (
            lambda r: (r.columns.update(rewards=r["rewards"].double()), r)[1],
            "'rewards'.*got torch.float64",
        ),
        (lambda r: (r.columns.update(actions=r["actions"][:3]), r)[1], r"'actions'.*\(3, 1\)"),
    ],
)
def test_what_is_no_rollout_is_refused_by_name(change, said):
    class Wrong(Counting):
        def sample(self, **how):
            return change(super().sample(**how))

    with config(Wrong).build_algo() as algo, pytest.raises(ConfigError, match=f"env_runner_cls=Wrong.*{said}"):
        algo.train()


def test_classes_without_its_methods_are_refused():
    with pytest.raises(ConfigError, match=r"env_runner_cls.*rlkit_core\.protocols\.EnvRunner"):
        ACConfig().env_runners(env_runner_cls=dict)

    class NoSpaces(Counting):
        def get_spaces(self):
            return OBS

    with pytest.raises(ConfigError, match=r"NoSpaces\): get_spaces\(\): expected"):
        config(NoSpaces).build_algo()


def test_it_is_kept_in_a_configs_json():
    made = config()
    assert type(made).from_json(made.to_json()).env_runner_cls is Counting
    assert sys.modules[Counting.__module__].Counting is Counting


def test_a_class_may_be_named(tmp_path, monkeypatch):
    (tmp_path / "acme_runners.py").write_text(
        "from rlkit_core.protocols import EnvRunner\n\n\nclass Nothing(EnvRunner):\n    pass\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made = ACConfig().env_runners(env_runner_cls="acme_runners:Nothing")
    assert made.env_runner_cls.__name__ == "Nothing"
    with pytest.raises(ConfigError, match="Did you mean 'Nothing'"):
        ACConfig().env_runners(env_runner_cls="acme_runners:Nothin")
