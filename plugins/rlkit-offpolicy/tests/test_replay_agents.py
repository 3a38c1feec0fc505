"""Rollouts of agents in a buffer: columns that end anywhere, against steps that are kept one by one."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ragged import ragged

from rlkit_core.errors import ConfigError
from rlkit_offpolicy import PrioritizedReplayBuffer, ReplayBuffer, with_successor

sys.path.insert(0, str(Path(__file__).parent))
from replay_streams import Streams, expected

INITIAL = {"h": torch.tensor([0.25])}


class Agents:
    """Columns of a module, each with a stream of its own; ``order`` has all steps as they came into the buffer."""

    def __init__(self, columns, seed, recurrent=None, end=0.2):
        self.made = [self.column(seed, n, recurrent, end) for n in range(8)]
        self.streams = self.made[:columns]
        self.order = []

    @staticmethod
    def column(seed, n, recurrent, end):
        stream = Streams(1, True, seed + n, recurrent=recurrent, end=end)
        stream.counter = 1000.0 * n
        stream.reset()
        return stream

    def rollout(self, lengths):
        """Steps of all columns; with another number of columns, no episode goes on from before."""
        if len(lengths) != len(self.streams):
            self.streams = self.made[: len(lengths)]
            for stream in self.made:
                if stream.steps[0]:
                    stream.steps[0][-1].goes_on = False
        columns = []
        for stream, length in zip(self.streams, lengths, strict=True):
            stream.fresh = False
            begins = len(stream.steps[0])
            columns.append(stream.rollout(length) if length else None)
            self.order += [(stream, k) for k in range(begins, begins + length)]
        return ragged(columns)


def check(buffer, batch, agents, gamma, n_step):
    for b, number in enumerate(buffer.last_indices.tolist()):
        stream, k = agents.order[number]
        window = stream.window(k, n_step)
        reward, discount, successor = expected(window, gamma)
        assert float(batch["obs"][b, 0]) == window[0].obs
        assert int(batch["actions"][b]) == window[0].action
        assert int(batch["n_step"][b]) == len(window)
        assert float(batch["rewards"][b]) == pytest.approx(reward, abs=1e-5)
        assert float(batch["discount"][b]) == pytest.approx(discount, abs=1e-6)
        if not window[-1].terminated:
            assert float(batch["new_obs"][b, 0]) == successor


LENGTHS = st.lists(st.integers(1, 4).flatmap(lambda n: st.lists(st.integers(0, 5), min_size=n, max_size=n)), max_size=9)
SAME = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 5), min_size=n, max_size=n), min_size=1, max_size=9)
)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    capacity=st.integers(20, 60),
    n_step=st.sampled_from([1, 2, 5]),
    rounds=st.one_of(SAME, LENGTHS),
)
def test_rows_are_the_steps_that_happened(seed, capacity, n_step, rounds):
    agents = Agents(len(rounds[0]) if rounds else 1, seed)
    buffer = ReplayBuffer(capacity, n_step=n_step, gamma=0.9, seed=1)
    for lengths in rounds:
        if not any(lengths):
            continue
        buffer.add(agents.rollout(lengths))
        assert len(buffer) == min(capacity, len(agents.order))
        check(buffer, buffer.sample(64), agents, 0.9, n_step)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    seq_len=st.integers(1, 6),
    burn_in=st.integers(0, 4),
    n_step=st.sampled_from([1, 3]),
    rounds=SAME,
)
def test_sequences_are_the_steps_that_happened(seed, seq_len, burn_in, n_step, rounds):
    agents = Agents(len(rounds[0]), seed, recurrent=3, end=0.1)
    buffer = ReplayBuffer(45, n_step=n_step, gamma=0.9, seed=1)
    for lengths in rounds:
        if not any(lengths):
            continue
        buffer.add(agents.rollout(lengths))
        with suppress(ConfigError):  # too few steps for this burn_in
            batch = buffer.sample(16, seq_len=seq_len, burn_in=burn_in, initial_state=INITIAL)
            check_sequences(buffer, batch, agents, seq_len + burn_in, burn_in, n_step)


def check_sequences(buffer, batch, agents, length, burn_in, n_step):
    observed = with_successor(batch["obs"], batch["new_obs"], batch["seq_lens"])
    for b, number in enumerate(buffer.last_indices.tolist()):
        stream, k = agents.order[number]
        steps = stream.window(k, length)
        real, first = len(steps), steps[0]
        assert int(batch["seq_lens"][b]) == real
        state = float(batch["state_in"]["h"][b])
        # That a column's very first step begins an episode is known of fresh starts only.
        begins = first.first and (k > 0 or state == 0.25)
        assert state == (0.25 if begins else 0.0 if first.first else first.obs + 0.5)
        assert batch["loss_mask"][b].tolist() == [t < real and (begins or t >= burn_in) for t in range(length)]
        assert batch["obs"][b, :real, 0].tolist() == [step.obs for step in steps]
        for t in range(real):
            window = stream.window(k + t, n_step, limit=real - t)
            reward, discount, successor = expected(window, 0.9)
            assert float(batch["rewards"][b, t]) == pytest.approx(reward, abs=1e-5)
            assert float(batch["discount"][b, t]) == pytest.approx(discount, abs=1e-6)
            if not window[-1].terminated:
                assert float(batch["new_obs"][b, t]) == successor == float(observed[b, t + len(window)])


def test_an_agent_that_waits_a_while_goes_on_where_it_was():
    agents = Agents(2, 4, end=0.0)
    buffer = ReplayBuffer(100, n_step=9, gamma=1.0, seed=0)
    for lengths in ([3, 2], [4, 0], [2, 0], [1, 3]):
        buffer.add(agents.rollout(lengths))
    batch = buffer.sample(300)
    check(buffer, batch, agents, 1.0, 9)
    waited = [k for k, number in enumerate(buffer.last_indices.tolist()) if agents.order[number][0].counter > 1000]
    assert {int(batch["n_step"][k]) for k in waited} == {1, 2, 3, 4, 5}
    assert buffer.get_metrics()["num_env_steps_stored"] == 15


def test_what_an_agent_went_on_from_may_be_gone():
    agents = Agents(2, 4, end=0.0)
    buffer = PrioritizedReplayBuffer(10, n_step=4, gamma=0.9, seed=0)
    for lengths in ([2, 3], [6, 0], [6, 0], [1, 2], [4, 1]):
        buffer.add(agents.rollout(lengths))
        check(buffer, buffer.sample(64), agents, 0.9, 4)
        assert len(buffer) == min(10, len(agents.order))


@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritizedReplayBuffer])
@pytest.mark.parametrize("recurrent", [None, 3])
def test_a_continued_buffer_samples_what_the_first_would_have(kind, recurrent):
    agents = Agents(3, 9, recurrent=recurrent)
    one = kind(40, n_step=3, seed=5)
    for lengths in ([4, 2, 0], [3, 3, 5], [1, 0, 6], [5, 5, 5]):
        one.add(agents.rollout(lengths))
    one.sample(8)
    two = kind(40, n_step=3, seed=99)
    two.set_state(one.get_state())
    options = {"seq_len": 4, "burn_in": 1} if recurrent else {}
    for lengths in ([2, 4, 1], [0, 3, 2], [6, 6, 6]):
        rollout = agents.rollout(lengths)
        one.add(rollout)
        two.add(rollout)
        first, second = (buffer.sample(32, **options) for buffer in (one, two))
        assert torch.equal(one.last_indices, two.last_indices)
        for name in ("obs", "rewards", "new_obs", "discount"):
            assert torch.equal(first[name], second[name])
    assert len(one) == len(two)


def test_final_observations_of_agents_that_went_on_take_no_room():
    agents = Agents(4, 2, end=0.0)
    buffer = ReplayBuffer(10_000, seed=0)
    for _ in range(100):
        buffer.add(agents.rollout([2, 1, 2, 1]))
    buffer.add(agents.rollout([1, 1, 1, 1]))
    slots = buffer.get_state()["storage"]["changing"]["finals"]["obs"]
    assert len(slots) <= 16


def test_priorities_follow_the_steps():
    agents = Agents(2, 3, end=0.0)
    buffer = PrioritizedReplayBuffer(30, alpha=1.0, seed=0)
    for lengths in ([3, 1], [2, 4]):
        buffer.add(agents.rollout(lengths))
    buffer.sample(8)
    wanted = torch.arange(10)
    buffer.update_priorities(torch.where(wanted == 7, 1e6, 1e-6), indices=wanted)
    batch = buffer.sample(50)
    stream, k = agents.order[7]
    assert batch["obs"].unique().tolist() == [stream.steps[0][k].obs]


def test_rollouts_of_envs_and_of_agents_are_kept_apart():
    agents = Agents(2, 3)
    buffer = ReplayBuffer(30, seed=0)
    rollout = agents.rollout([3, 2])
    buffer.add(rollout)
    for wrong in ({"cut": None}, {"loss_mask": ~rollout.loss_mask}):
        changed = rollout.clone()
        for name, value in wrong.items():
            setattr(changed, name, value)
        with pytest.raises(ConfigError, match="holds rollouts of agents"):
            buffer.add(changed)
    with pytest.raises(ConfigError, match="does not fit a buffer of 30"):
        buffer.add(agents.rollout([20, 20]))
    assert len(buffer) == 5
