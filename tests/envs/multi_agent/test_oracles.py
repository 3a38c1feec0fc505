"""Rollouts of agents against the record that their env has kept, across carried rows, late rewards and new lives."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording_env import RecordingEnv

from actor_critic import ACConfig
from rlkit_core.data import gae
from rlkit_core.data.n_step import n_step_returns
from rlkit_core.envs import EnvRunnerGroup

GAMMA, LAMBDA, N_STEP = 0.9, 0.8, 3


def group_for(env_config, envs=1, modules=1, model_config=None):
    RecordingEnv.made.clear()
    ids = [f"m{k}" for k in range(modules)]
    config = (
        ACConfig()
        .environment(RecordingEnv, env_config=env_config)
        .multi_agent(policies=ids, policy_mapping_fn=lambda agent, episode: ids[int(agent[1:]) % modules])
        .env_runners(num_envs_per_env_runner=envs)
        .rl_module(model_config={"fcnet_hiddens": [4], **(model_config or {})})
        .debugging(seed=3)
    )
    return EnvRunnerGroup(config.prepared())


def sampled(group, steps, rollouts):
    """Samples of ``steps`` in each env: copies, in order."""
    envs = group.num_envs
    return [{m: r.clone() for m, r in group.sample(num_timesteps=steps * envs).items()} for _ in range(rollouts)]


def life_of(row):
    env, life, step, _ = row.tolist()
    return (int(env), int(life)), int(step)


def experience(rollout):
    """``(column, its rows)`` of a rollout; experience comes first in every column."""
    mask = rollout.loss_mask
    for n in range(rollout.num_envs):
        length = rollout.num_steps if mask is None else int(mask[:, n].sum())
        assert mask is None or mask[:length, n].all()
        yield n, length


def what_followed(rollout, t, n):
    if rollout.final_index is not None:
        where = (rollout.final_index == t * rollout.num_envs + n).nonzero()
        if len(where):
            return rollout.final_obs[where.item()]
    if t + 1 == rollout.num_steps:
        return rollout.bootstrap_obs[n]
    return rollout["obs"][t + 1, n]


def check_rows(samples, record):
    """Every complete row of every life is there once, in order and in one column, with what the env has recorded."""
    told = defaultdict(int)
    column_of = {}
    for sample in samples:
        for module_id, rollout in sample.items():
            assert rollout.cut.shape == (rollout.num_envs,)
            for n, length in experience(rollout):
                before, ended = None, False
                for t in range(length):
                    key, step = life_of(rollout["obs"][t, n])
                    life = record[key]
                    assert told[key] == step, "rows of a life follow each other"
                    told[key] += 1
                    assert column_of.setdefault(key, (module_id, n)) == (module_id, n)
                    assert before is None or before == key or ended, "a life that goes on is followed by itself"
                    before = key
                    assert rollout["actions"][t, n].item() == life.actions[step]
                    assert rollout["rewards"][t, n].item() == life.rewards[step]
                    last = life.end is not None and step + 1 == len(life.actions)
                    is_cut = bool(rollout.cut[n]) and t + 1 == length
                    assert bool(rollout["terminateds"][t, n]) == (last and life.end == "terminated")
                    assert bool(rollout["truncateds"][t, n]) == (is_cut or (last and life.end == "truncated"))
                    ended = last
                    assert not (is_cut and last)
                    if last and life.end == "truncated":
                        expected = life.seen[-1] if life.last is None else life.last
                        assert np.array_equal(what_followed(rollout, t, n), expected)
                    elif not last:
                        assert np.array_equal(what_followed(rollout, t, n), life.seen[step + 1])
                if 0 < length < rollout.num_steps:
                    assert ended or rollout.cut[n]
    for key, life in record.items():
        assert told[key] == life.complete, (key, life)


def value(row):
    return row[..., 3] * 2 + row[..., 2] * 0.25


def by_hand(life, first, last):
    """Advantages and n-step returns of rows ``first..last`` of a life, which are in one rollout."""
    after = [life.seen[k + 1] if k + 1 < len(life.seen) else None for k in range(len(life.actions))]
    if life.end == "truncated":
        after[-1] = life.seen[-1] if life.last is None else life.last
    rows = range(first, last + 1)
    terminated = {k: life.end == "terminated" and k + 1 == len(life.actions) for k in rows}
    v = {k: float(value(life.seen[k])) for k in rows}
    following = {k: 0.0 if terminated[k] else float(value(after[k])) for k in rows}
    advantages, running = {}, 0.0
    for k in reversed(rows):
        running = life.rewards[k] + GAMMA * following[k] - v[k] + GAMMA * LAMBDA * running
        advantages[k] = running
    returns = {}
    for k in rows:
        end = min(k + N_STEP - 1, last)
        total = sum(GAMMA ** (j - k) * life.rewards[j] for j in range(k, end + 1))
        returns[k] = total + GAMMA ** (end - k + 1) * following[end]
    return advantages, returns


def check_returns(samples, record):
    for sample in samples:
        for rollout in sample.values():
            values = value(rollout["obs"].double())
            finals = torch.zeros_like(values)
            if rollout.final_index is not None:
                finals.view(-1)[rollout.final_index] = value(rollout.final_obs.double())
            rewards, bootstrap = rollout["rewards"].double(), value(rollout.bootstrap_obs.double())
            ends = (rollout["terminateds"], rollout["truncateds"])
            advantages, _ = gae(rewards, values, bootstrap, *ends, finals, GAMMA, LAMBDA)
            n_step = n_step_returns(
                rewards,
                GAMMA * (~ends[0]).double(),
                N_STEP,
                ends[1],
                values=values,
                bootstrap_value=bootstrap,
                final_values=finals,
            )
            for n, length in experience(rollout):
                spans = defaultdict(list)
                for t in range(length):
                    key, step = life_of(rollout["obs"][t, n])
                    spans[key].append((step, t))
                for key, span in spans.items():
                    expected = by_hand(record[key], span[0][0], span[-1][0])
                    for step, t in span:
                        assert advantages[t, n].item() == pytest.approx(expected[0][step], abs=1e-5)
                        assert n_step.returns[t, n].item() == pytest.approx(expected[1][step], abs=1e-5)


def the_record():
    return {(env.number, k): life for env in RecordingEnv.made for k, life in enumerate(env.lives)}


env_configs = st.fixed_dictionaries(
    {
        "agents": st.sampled_from([1, 2, 4, None]),
        "p_wait": st.sampled_from([0.0, 0.3, 0.8]),
        "p_late": st.sampled_from([0.0, 0.5]),
        "p_end": st.sampled_from([0.0, 0.1, 0.5]),
        "p_come": st.sampled_from([0.1, 1.0]),
        "limit": st.sampled_from([1, 4, 15, 1000]),
        "with_last": st.booleans(),
        "turns": st.booleans(),
        "seed": st.integers(0, 10_000),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(env_configs, st.sampled_from([1, 2, 7]), st.integers(1, 3), st.integers(1, 2))
def test_rollouts_tell_what_the_env_has_recorded(env_config, steps, envs, modules):
    group = group_for(env_config, envs, modules)
    samples = sampled(group, steps, 24 // steps)
    record = the_record()
    check_rows(samples, record)
    check_returns(samples, record)
    ended = [episode for env in RecordingEnv.made for episode in env.episodes]
    result = group.get_metrics()
    assert result["num_episodes_lifetime"] == len(ended)
    assert result["num_env_steps_sampled_lifetime"] == 24 // steps * steps * envs
    if ended:
        assert result["episode_return_mean"] == pytest.approx(np.mean([total for total, _ in ended]))
        assert result["episode_len_mean"] == pytest.approx(np.mean([length for _, length in ended]))
    told = sum(result.get("num_module_steps_sampled", {}).values())
    assert told == sum(life.complete for life in record.values())
    group.stop()
