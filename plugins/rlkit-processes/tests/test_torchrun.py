"""Learners of a program that ``torchrun`` starts twice, beside two learners that one process starts."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
import torch

from rlkit_core.errors import RLKitError
from rlkit_core.testing import BCConfigTest
from rlkit_processes.torchrun import join

COMMON = """
    import os
    import gymnasium as gym
    import numpy as np
    import torch
    from rlkit_core.testing import BCConfigTest

    RANK = int(os.environ.get("RANK", 0))
    torch.set_num_threads(1)

    def config_for(seed):
        obs, actions = gym.spaces.Box(-1.0, 1.0, (4,), np.float32), gym.spaces.Discrete(2)
        config = BCConfigTest().environment(observation_space=obs, action_space=actions)
        return config.training(lr=0.01, grad_clip=0.1).debugging(seed=seed)

    def rows(count, seed):
        obs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
        return {"obs": obs, "actions": (obs[:, 0] > 0).long()}
"""


@pytest.fixture
def torchrun(tmp_path):
    """Run a program on two ranks, in an empty folder; returns how it ended, and what it wrote."""

    def run(text):
        program = tmp_path / "program.py"
        program.write_text(textwrap.dedent(COMMON) + textwrap.dedent(text))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*command, program], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
        return done, tmp_path

    return run


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_are_two_learners_of_one_process(torchrun):
    pytest.importorskip("rlkit_ppo")
    done, folder = torchrun("""
        from rlkit_ppo import PPOConfig
        from rlkit_processes.torchrun import join

        learner = config_for(seed=2 + RANK).build_learner()
        join(learner)
        for k in range(5):
            own = {name: column[16 * RANK : 16 * RANK + 16] for name, column in rows(32, seed=k).items()}
            learner.update({"default_policy": own}, minibatch_size=8, num_epochs=2)

        if RANK == 0:
            group = config_for(seed=2).learners(num_learners=2).build_learner_group()
            for k in range(5):
                group.update({"default_policy": rows(32, seed=k)}, minibatch_size=8, num_epochs=2)
            torch.save(group.foreach_learner(lambda learner: learner.module.state_dict())[0], "group.pt")
            group.shutdown()

        config = PPOConfig().environment("CartPole-v1").debugging(seed=5 + RANK)
        config.training(train_batch_size=128, minibatch_size=64, num_epochs=2)
        with config.build_algo() as algo:
            join(algo.learner_group.learner)
            algo.sync_weights()
            returns = [algo.train()["env_runners"]["episode_return_mean"] for _ in range(3)]
            trained = algo.learner_group.learner.module.state_dict()
        torch.save([learner.module.state_dict(), trained, returns], f"rank{RANK}.pt")
    """)
    assert done.returncode == 0, done.stderr
    (first, trained, returns), (second, trained_too, other_returns) = (
        torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)
    )
    group = torch.load(folder / "group.pt")
    assert all(torch.equal(first[name], group[name]) and torch.equal(second[name], group[name]) for name in group)
    assert all(torch.equal(trained[name], trained_too[name]) for name in trained)
    assert returns != other_returns  # each has its own envs


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_rank_that_fails_ends_the_others(torchrun):
    done, _ = torchrun("""
        from rlkit_processes.torchrun import join

        learner = config_for(seed=2).build_learner()
        join(learner)
        for k in range(5):
            if RANK == 1 and k == 2:
                raise ZeroDivisionError("on purpose")
            learner.update({"default_policy": rows(16, seed=k)})
    """)
    assert done.returncode != 0
    assert "on purpose" in done.stderr


def test_without_torchrun_it_says_how_to_start(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(RLKitError, match=r"RANK.* is not set: start it by `torchrun"):
        join(BCConfigTest())
