"""The uniform buffer against steps that are kept one by one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.data import Rollout
from rlkit_core.errors import ConfigError
from rlkit_offpolicy import ReplayBuffer

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


@settings(max_examples=40, deadline=None)
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
        alive = [t * envs + n for t in range(oldest, total) for n in range(envs) if streams.steps[n][t].experience]
        assert len(buffer) == len(alive)
        if not alive:
            continue
        batch = buffer.sample(32)
        assert set(buffer.last_indices.tolist()) <= set(alive)
        check_rows(batch, buffer.last_indices, streams, 0.9, lo, hi)
    assert buffer.num_env_steps_added_lifetime == sum(s.experience for e in streams.steps for s in e)


@pytest.mark.parametrize("same_step", [True, False])
def test_composed_observations_keep_their_structure_and_dtypes(same_step):
    streams = Streams(2, same_step, 3, image=True, end=0.6)
    buffer = ReplayBuffer(60, n_step=2, gamma=0.9, seed=1)
    for _ in range(15):  # more truncations than there is room for at first
        buffer.add(streams.rollout(7))
        batch = buffer.sample(48)
        for name in ("obs", "new_obs"):
            assert batch[name]["pixels"].dtype == torch.uint8
            assert batch[name]["more"][0].dtype == torch.float64
        for i, number in enumerate(buffer.last_indices.tolist()):
            window = streams.window(number, 2)
            for name, value in (("obs", window[0].obs), ("new_obs", window[-1].next_obs)):
                wanted = streams.shaped(torch.tensor(value))
                if name == "obs" or not window[-1].terminated:
                    assert torch.equal(batch[name]["pixels"][i], wanted["pixels"])
                    assert torch.equal(batch[name]["more"][0][i], wanted["more"][0])


def simple(steps=4, envs=1, obs=None, **columns):
    """A rollout of zeros without ends."""
    return Rollout(
        columns={
            "obs": torch.zeros(steps, envs, 3) if obs is None else obs,
            "actions": torch.zeros(steps, envs, dtype=torch.int64),
            "rewards": torch.zeros(steps, envs),
            "terminateds": torch.zeros(steps, envs, dtype=torch.bool),
            "truncateds": torch.zeros(steps, envs, dtype=torch.bool),
            **columns,
        },
        bootstrap_obs=torch.zeros(envs, 3) if obs is None else obs[0],
    )


def test_columns_of_any_shape_and_previous_actions():
    actions = (torch.rand(6, 2, 3), {"on": torch.randint(0, 2, (6, 2, 4), dtype=torch.int8)})
    before = (torch.rand(7, 2, 3), {"on": torch.randint(0, 2, (7, 2, 4), dtype=torch.int8)})
    cut = lambda struct, a, b: (struct[0][a:b], {"on": struct[1]["on"][a:b]})  # noqa: E731
    rollout = simple(6, 2, actions=actions, prev_actions=cut(before, 0, 6), half=torch.rand(6, 2).bfloat16())
    rollout.columns["truncateds"][2, 1] = True
    rollout.bootstrap_inputs = {"prev_actions": (before[0][6], {"on": before[1]["on"][6]})}
    rollout.final_index, rollout.final_obs = torch.tensor([5]), torch.ones(1, 3)
    rollout.final_inputs = {"prev_actions": (torch.full((1, 3), 9.0), {"on": torch.full((1, 4), 9, dtype=torch.int8)})}
    buffer = ReplayBuffer(12, seed=0, columns=["half"])
    buffer.add(rollout)
    batch = buffer.sample(64)
    for i, number in enumerate(buffer.last_indices.tolist()):
        t, n = divmod(number, 2)
        assert torch.equal(batch["actions"][0][i], actions[0][t, n])
        assert torch.equal(batch["actions"][1]["on"][i], actions[1]["on"][t, n])
        assert torch.equal(batch["prev_actions"][0][i], before[0][t, n])
        after = torch.full((3,), 9.0) if number == 5 else before[0][t + 1, n]
        assert torch.equal(batch["new_prev_actions"][0][i], after)
        assert batch["half"].dtype == torch.bfloat16
        assert torch.equal(batch["half"][i], rollout["half"][t, n])
    assert batch["new_obs"][buffer.last_indices == 5].eq(1.0).all()


def test_the_buffer_owns_what_it_was_given():
    streams = Streams(2, True, 3)
    buffer = ReplayBuffer(20, seed=0)
    rollout = streams.rollout(8)
    buffer.add(rollout)
    for name in ("obs", "rewards", "actions"):
        rollout[name].zero_()
    rollout.bootstrap_obs.zero_()
    if rollout.final_obs is not None:
        rollout.final_obs.zero_()
    check_rows(buffer.sample(40), buffer.last_indices, streams, 0.99, 1, 1)


def test_a_range_of_n_is_drawn_evenly_with_both_ends():
    buffer = ReplayBuffer(1000, n_step=(2, 4), seed=0)
    buffer.add(simple(1000))
    steps = torch.bincount(buffer.sample(3000)["n_step"], minlength=5)
    assert steps[0] == 0
    assert steps[1] < 20  # the newest row has no second step
    assert ((steps[2:] - 1000).abs() < 100).all()


def test_rows_are_drawn_uniformly_and_repeatably():
    streams = Streams(2, False, 3)
    buffer, other = (ReplayBuffer(60, seed=7) for _ in range(2))
    rollout = streams.rollout(30)
    buffer.add(rollout)
    other.add(rollout)
    counts = torch.zeros(60)
    for _ in range(100):
        buffer.sample(50, num_batches=2)
        other.sample(50, num_batches=2)
        assert torch.equal(buffer.last_indices, other.last_indices)
        counts += torch.bincount(buffer.last_indices, minlength=60)
    alive = torch.tensor([[s.experience for s in steps] for steps in streams.steps]).t().reshape(-1)
    assert counts[~alive].sum() == 0
    wanted = 10_000 / int(alive.sum())
    chi_square = float(((counts[alive] - wanted) ** 2 / wanted).sum())
    assert chi_square < 100  # 0.1 % of 59 degrees of freedom; here there are fewer
    assert buffer.get_metrics() == {
        "num_env_steps_stored": int(alive.sum()),
        "num_env_steps_added_lifetime": int(alive.sum()),
        "num_env_steps_sampled_lifetime": 10_000,
        "capacity": 60,
    }


@pytest.mark.parametrize("same_step", [True, False])
def test_a_continued_buffer_samples_what_the_first_would_have(same_step, tmp_path):
    from rlkit_core.checkpoint import load_tree, save_tree

    streams = Streams(2, same_step, 3, recurrent=4)
    buffer = ReplayBuffer(40, n_step=(1, 3), seed=7)
    for _ in range(5):
        buffer.add(streams.rollout(7))
    buffer.sample(8)
    other = ReplayBuffer(40, n_step=(1, 3), seed=8)
    save_tree(buffer.get_state(), tmp_path)
    other.set_state(load_tree(tmp_path))
    for k in range(8):
        if k == 4:
            streams.reset()
        more = streams.rollout(6)
        for each in (buffer, other):
            each.add(more)
        for how in ({}, {"seq_len": 3, "burn_in": 1}):
            ours, theirs = buffer.sample(16, **how), other.sample(16, **how)
            assert torch.equal(buffer.last_indices, other.last_indices)
            for name in ours:
                if name == "state_in":
                    assert torch.equal(ours[name]["h"], theirs[name]["h"])
                else:
                    assert torch.equal(ours[name], theirs[name]), name
    assert buffer.get_metrics() == other.get_metrics()


def test_the_state_of_an_empty_buffer():
    buffer = ReplayBuffer(10, seed=1)
    buffer.set_state(ReplayBuffer(10, seed=2).get_state())
    assert len(buffer) == 0
    buffer.add(simple())
    other = ReplayBuffer(10, seed=2)
    other.add(simple())
    other.sample(5)
    buffer.sample(5)
    assert torch.equal(buffer.last_indices, other.last_indices)


def test_what_does_not_fit_is_refused_and_changes_nothing():
    buffer = ReplayBuffer(10, seed=0)
    with pytest.raises(ConfigError, match="empty"):
        buffer.sample(1)
    buffer.add(simple())
    cut = simple()
    cut.columns["truncateds"][1] = True
    refused = {
        "1 envs, and got a rollout of 2": simple(envs=2),
        "does not fit a buffer of 10": simple(steps=11),
        r"holds rows of \(3,\) torch.float32, and got \(4,\)": simple(obs=torch.zeros(4, 1, 4)),
        "torch.float64": simple(obs=torch.zeros(4, 1, 3, dtype=torch.float64)),
        r"column 'actions'.*\(2,\)": simple(actions=torch.zeros(4, 1, 2, dtype=torch.int64)),
        "1 steps were truncated, but 0 final observations": cut,
    }
    for message, rollout in refused.items():
        before = buffer.get_state()
        with pytest.raises(ConfigError, match=message):
            buffer.add(rollout)
        after = buffer.get_state()
        assert after["storage"]["total"] == before["storage"]["total"] == 4
        for name, flags in before["storage"]["rows"]["flags"].items():
            assert torch.equal(flags, after["storage"]["rows"]["flags"][name])
    nested = ReplayBuffer(10)
    nested.add(simple(actions={"a": torch.zeros(4, 1)}))
    with pytest.raises(ConfigError, match="another structure"):
        nested.add(simple(actions={"b": torch.zeros(4, 1)}))
    texts = simple()
    texts.columns["obs"] = np.empty((4, 1), object)
    texts.bootstrap_obs = np.empty(1, object)
    with pytest.raises(ConfigError, match=r"pack\(\)"):
        ReplayBuffer(10).add(texts)
    for wrong in ({"capacity": 0}, {"n_step": 0}, {"n_step": (3, 2)}, {"gamma": 1.5}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            ReplayBuffer(**{"capacity": 10, **wrong})
    with pytest.raises(ConfigError, match="same capacity"):
        ReplayBuffer(20).set_state(buffer.get_state())
    with pytest.raises(ConfigError, match="burn_in"):
        buffer.sample(2, seq_len=2, burn_in=6)
    with pytest.raises(ConfigError, match="positive"):
        buffer.sample(0)


@pytest.mark.parametrize("same_step", [True, False])
def test_a_lost_rollout_is_noticed(same_step):
    streams = Streams(2, same_step, 11, end=0.2)
    buffer = ReplayBuffer(64, n_step=3, gamma=0.9, seed=0)
    numbers = {}
    for k in range(8):
        rollout = streams.rollout(4)
        if k % 3 == 2:  # never added
            for steps in streams.steps:
                steps[-5].goes_on = False
            continue
        first = len(numbers)
        for i in range(8):
            numbers[first + i] = (len(streams.steps[0]) - 4) * 2 + i
        buffer.add(rollout)
    batch = buffer.sample(300)
    ours = buffer.last_indices.tolist()
    assert {divmod(i, 2)[0] for i in ours} >= {7, 15}  # rows before a gap
    newest = len(streams.steps[0])
    for i, number in enumerate(numbers[j] for j in ours):
        window = streams.window(number, 3)
        assert number // 2 + len(window) <= newest
        reward, discount, successor = expected(window, 0.9)
        assert int(batch["n_step"][i]) == len(window)
        assert float(batch["rewards"][i]) == pytest.approx(reward, abs=1e-5)
        assert float(batch["discount"][i]) == pytest.approx(discount, abs=1e-6)
        assert window[-1].terminated or float(batch["new_obs"][i]) == successor


def test_rows_that_are_hidden_for_another_reason_end_a_sum():
    obs = torch.arange(7.0).view(7, 1, 1).expand(7, 1, 3).contiguous()
    rollout = simple(6, obs=obs[:6], rewards=torch.ones(6, 1))
    rollout.bootstrap_obs = obs[6]
    rollout.loss_mask = torch.tensor([1, 1, 0, 1, 1, 1], dtype=torch.bool).unsqueeze(-1)
    buffer = ReplayBuffer(6, n_step=4, gamma=1.0, seed=0)
    buffer.add(rollout)
    batch = buffer.sample(100)
    found = dict(zip(buffer.last_indices.tolist(), batch["n_step"].tolist(), strict=True))
    assert found == {0: 2, 1: 1, 3: 3, 4: 2, 5: 1}


def test_rollouts_without_a_mask_may_follow_those_with_one():
    buffer = ReplayBuffer(8, seed=0)
    masked = simple(4)
    masked.loss_mask = torch.zeros(4, 1, dtype=torch.bool)
    buffer.add(masked)
    assert len(buffer) == 0
    with pytest.raises(ConfigError, match="empty"):
        buffer.sample(1)
    for _ in range(4):
        buffer.add(simple(4))
    assert len(buffer) == 8
    for how in ({}, {"seq_len": 2}):
        buffer.sample(200, **how)
        assert set(buffer.last_indices.tolist()) == set(range(12, 20))
