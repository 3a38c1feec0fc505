"""Learners that average their gradients without a process between them, and what each gets of ragged rollouts."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import gymnasium as gym
import numpy as np
import torch
from oracle_envs import Ragged
from ragged import ragged
from thread_executor import ThreadExecutor
from three_optimizers import NAMES, ThreeOptimizers, learner_for
from three_optimizers import rows as rows_of_three

from actor_critic import ACConfig
from rlkit_core import LearnerGroup
from rlkit_core.algorithm.config.used import used_by_config
from rlkit_core.envs import EnvRunner
from rlkit_core.testing import BCConfigTest
from rlkit_processes.learners.averaging import GradientAveraging
from rlkit_processes.learners.gloo import Collective, Rendezvous
from rlkit_processes.learners.sharding import shard

MID = "default_policy"


def rows(count=32):
    obs = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
    return {MID: {"obs": obs, "actions": (obs[:, 0] > 0).long()}}


def weights_of(learner):
    return torch.cat([p.detach().reshape(-1) for p in learner.module.parameters()])


def test_learners_in_threads_average_their_gradients():
    spaces = {"observation_space": gym.spaces.Box(-1.0, 1.0, (4,), np.float32), "action_space": gym.spaces.Discrete(2)}
    config = BCConfigTest().environment(**spaces).training(lr=0.01).learners(num_learners=2).debugging(seed=2)
    threads = torch.get_num_threads()
    with ThreadExecutor() as executor:
        group = LearnerGroup(config=config, executor=executor)
        begun = group.foreach_learner(weights_of)
        assert torch.equal(*begun)
        assert len(set(group.foreach_learner(lambda learner: threading.get_ident()))) == 2
        for _ in range(3):
            result = group.update(rows())[MID]
        assert result["num_module_steps_trained"] == 32
        ended = group.foreach_learner(weights_of)
        assert torch.equal(*ended)
        assert not torch.equal(begun[0], ended[0])
        group.shutdown()
    assert torch.get_num_threads() == threads  # which they share with this process


class Chosen(ThreeOptimizers):
    """Gives the losses of ``names`` only."""

    names = NAMES

    def compute_loss_for_module(self, **given):
        losses = super().compute_loss_for_module(**given)
        return {name: losses[name] for name in self.names}


def named_weights(learner):
    return {name: p.detach().clone() for name, p in learner.module[MID].named_parameters()}


def test_what_averages_is_part_of_what_a_config_uses():
    for count in (0, 1):
        lock = used_by_config(BCConfigTest().environment("CartPole-v1").learners(num_learners=count))
        groups = [entry.id for entry in lock.entries if entry.role == "learners"]
        assert groups == ["rlkit-processes/averaging"] * count


def test_losses_of_several_optimizers_are_averaged():
    meeting = Rendezvous("127.0.0.1")
    whole, pair = learner_for(Chosen), [learner_for(Chosen), learner_for(Chosen)]

    def updates(rank):
        store, host = (None if rank else meeting.store), "127.0.0.1"
        collective = Collective(rank, 2, host=host, port=meeting.port, own_host=host, store=store)
        pair[rank].join(GradientAveraging(collective))
        half = slice(None, 12) if rank == 0 else slice(12, None)  # 12 and 20 rows: losses are weighed
        for k in range(3):
            pair[rank].update({MID: {name: column[half] for name, column in rows_of_three(k).items()}})

    for names in (NAMES, ("critic", "alpha")):
        Chosen.names = names
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(updates, range(2)))
        meeting = Rendezvous("127.0.0.1")
        for k in range(3):
            whole.update({MID: rows_of_three(k)})
        ours, theirs, other = (named_weights(learner) for learner in (*pair, whole))
        for name, value in ours.items():
            assert torch.equal(value, theirs[name])
            torch.testing.assert_close(value, other[name], rtol=0, atol=1e-5)
    Chosen.names = NAMES


def sampled(lengths):
    """A ragged rollout with a column for each length, each from a runner of its own."""
    config = ACConfig().environment(Ragged).env_runners(num_envs_per_env_runner=1)
    config.rl_module(model_config={"fcnet_hiddens": [6]})
    columns = []
    for n, length in enumerate(lengths):
        runner = EnvRunner(config.copy(copy_frozen=False).debugging(seed=10 + n))
        columns.append(runner.sample(num_timesteps=length)[MID].clone() if length else None)
        runner.stop()
    return ragged(columns)


def test_learners_get_parts_of_rollouts_of_different_lengths():
    one, two = sampled([7, 3, 0, 5]), sampled([1, 4, 6, 2])
    shards = shard(3, rollouts={MID: [one, two]})
    parts = [argument["rollouts"][MID] for argument in shards.arguments]
    assert [part.num_envs for part in parts] == [3, 3, 2]
    assert sum(part.num_env_steps for part in parts) == one.num_env_steps + two.num_env_steps
    assert all(part.cut is not None for part in parts)
