"""The uniform buffer against steps that are kept one by one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.data import ReplayBuffer, Rollout

sys.path.insert(0, str(Path(__file__).parent))
from replay_streams import Streams, expected


def check_rows(batch, indices, streams, gamma, lo, hi):
    """Every row of a batch against the steps themselves; the numbers of steps used."""
    newest = len(streams.steps[0])
    for i, number in enumerate(indices.tolist()):
        step = streams.window(number, 1)[0]
        assert step.experience
        used = int(batch["n_step"][i])
        assert used <= hi
        assert used == len(streams.window(number, used))  # never beyond an end
        window = streams.window(number, used)
        if used < lo:
            assert not window[-1].goes_on or number // streams.num_envs + used == newest
        reward, discount, successor = expected(window, gamma)
        assert float(batch["rewards"][i]) == pytest.approx(reward, abs=1e-5)
        assert float(batch["discount"][i]) == pytest.approx(discount, abs=1e-6)
        assert bool(batch["terminateds"][i]) == window[-1].terminated
        assert int(batch["actions"][i]) == step.action
        assert torch.equal(batch["obs"][i], streams.shaped(torch.tensor(step.obs)))
        if not window[-1].terminated:
            assert torch.equal(batch["new_obs"][i], streams.shaped(torch.tensor(successor)))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    envs=st.integers(1, 3),
    capacity=st.integers(4, 40),
    same_step=st.booleans(),
    n_step=st.sampled_from([1, 3, (1, 4), (2, 3)]),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    resets=st.sets(st.integers(1, 11), max_size=3),
)
def test_rows_are_the_steps_that_happened(seed, envs, capacity, same_step, n_step, lengths, resets):
    streams = Streams(envs, same_step, seed)
    per_env = -(-capacity // envs)
    buffer = ReplayBuffer(capacity, n_step=n_step, gamma=0.9, seed=1)
    lo, hi = (n_step, n_step) if isinstance(n_step, int) else n_step
    for k, length in enumerate(lengths):
        if k in resets:
            streams.reset()
        buffer.add(streams.rollout(min(length, per_env)))
        total = len(streams.steps[0])
        oldest = max(0, total - per_env)
        alive = [
            t * envs + n for t in range(oldest, total) for n in range(envs) if streams.steps[n][t].experience
        ]
        assert len(buffer) == len(alive)
        if not alive:
            continue
        batch = buffer.sample(32)
        assert set(buffer.last_indices.tolist()) <= set(alive)
        check_rows(batch, buffer.last_indices, streams, 0.9, lo, hi)
    assert buffer.num_env_steps_added_lifetime == sum(s.experience for e in streams.steps for s in e)
