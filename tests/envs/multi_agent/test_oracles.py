"""Rollouts of agents against the record that their env has kept, across carried rows, late rewards and new lives."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording_env import RecordingEnv, Seeded

from actor_critic import ACConfig
from rlkit_core.data import gae
from rlkit_core.data.sequences import sequence_batch
from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.rl_module.weights import Weights

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


def check_rows(samples, record):
    """Every complete row of every life is there once, in order and in one column, with what the env has recorded."""
    told = defaultdict(int)
    column_of = {}
    for sample in samples:
        for module_id, rollout in sample.items():
            obs, actions, rewards = (rollout[name].numpy() for name in ("obs", "actions", "rewards"))
            terminateds, truncateds = rollout["terminateds"].numpy(), rollout["truncateds"].numpy()
            cut, bootstrap, finals = rollout.cut.numpy(), rollout.bootstrap_obs.numpy(), {}
            if rollout.final_index is not None:
                finals = dict(zip(rollout.final_index.tolist(), rollout.final_obs.numpy(), strict=True))
            for n, length in experience(rollout):
                before, ended = None, False
                for t in range(length):
                    key, step = life_of(obs[t, n])
                    life = record[key]
                    assert told[key] == step, "rows of a life follow each other"
                    told[key] += 1
                    assert column_of.setdefault(key, (module_id, n)) == (module_id, n)
                    assert before is None or before == key or ended, "a life that goes on is followed by itself"
                    before = key
                    assert actions[t, n] == life.actions[step]
                    assert rewards[t, n] == life.rewards[step]
                    last = life.end is not None and step + 1 == len(life.actions)
                    is_cut = bool(cut[n]) and t + 1 == length
                    assert terminateds[t, n] == (last and life.end == "terminated")
                    assert truncateds[t, n] == (is_cut or (last and life.end == "truncated"))
                    ended = last
                    assert not (is_cut and last)
                    followed = finals.get(t * rollout.num_envs + n)
                    if followed is None:
                        followed = bootstrap[n] if t + 1 == rollout.num_steps else obs[t + 1, n]
                    if last and life.end == "truncated":
                        assert np.array_equal(followed, life.seen[-1] if life.last is None else life.last)
                    elif not last:
                        assert np.array_equal(followed, life.seen[step + 1])
                if 0 < length < rollout.num_steps:
                    assert ended or cut[n]
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


def n_step_loop(rewards, terminateds, truncateds, values, bootstrap, finals):
    """n-step returns, step by step; each ends where the episode does, or the rollout."""
    returns = torch.zeros_like(rewards)
    for n in range(rewards.shape[1]):
        for t in range(rewards.shape[0]):
            end = t
            while end < min(t + N_STEP, len(rewards)) - 1 and not terminateds[end, n] and not truncateds[end, n]:
                end += 1
            following = bootstrap[n] if end + 1 == len(rewards) else values[end + 1, n]
            following = finals[end, n] if truncateds[end, n] else following
            returns[t, n] = sum(GAMMA ** (k - t) * rewards[k, n] for k in range(t, end + 1))
            if not terminateds[end, n]:
                returns[t, n] += GAMMA ** (end - t + 1) * following
    return returns


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
            n_step = n_step_loop(rewards, *ends, values, bootstrap, finals)
            for n, length in experience(rollout):
                spans = defaultdict(list)
                for t in range(length):
                    key, step = life_of(rollout["obs"][t, n])
                    spans[key].append((step, t))
                for key, span in spans.items():
                    expected = by_hand(record[key], span[0][0], span[-1][0])
                    for step, t in span:
                        assert advantages[t, n].item() == pytest.approx(expected[0][step], abs=1e-5)
                        assert n_step[t, n].item() == pytest.approx(expected[1][step], abs=1e-5)


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


MEMORIES = [
    {"use_lstm": True},
    {"use_gru": True, "lstm_use_prev_action": True, "lstm_use_prev_reward": True},
    {"lstm_use_prev_action": True, "lstm_use_prev_reward": True},
]


def as_acting_saw_it(module, life):
    """What the module returned at each own step, from the record alone."""
    stateful = module.is_stateful()
    state = {k: batched(v) for k, v in module.get_initial_state().items()} if stateful else None
    prev_action, prev_reward = torch.tensor([-1]), torch.zeros(1)
    for seen, action, reward in zip(life.seen, life.actions, life.rewards, strict=False):
        batch = {"obs": torch.as_tensor(seen)[None], "prev_actions": prev_action, "prev_rewards": prev_reward}
        if stateful:
            batch = {name: column[:, None] for name, column in batch.items()} | {"state_in": state}
        with torch.no_grad():
            out = module.forward_exploration(batch)
        yield out["action_dist_inputs"].reshape(-1), prev_action[0], prev_reward[0]
        state = out.get("state_out")
        prev_action, prev_reward = torch.tensor([action]), torch.tensor([reward], dtype=torch.float32)


def batched(leaf):
    return {k: batched(v) for k, v in leaf.items()} if isinstance(leaf, dict) else torch.as_tensor(leaf)[None]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(env_configs, st.sampled_from([1, 2, 7]), st.integers(1, 2), st.sampled_from(MEMORIES))
def test_modules_with_memory_act_and_learn_along_each_life(env_config, steps, envs, memory):
    group = group_for(env_config, envs, model_config={"lstm_cell_size": 4, "max_seq_len": 3, **memory})
    module = group.module["m0"]
    samples = sampled(group, steps, 24 // steps)
    record = the_record()
    check_rows(samples, record)
    by_life = {key: list(as_acting_saw_it(module, life)) for key, life in record.items()}
    for rollout in (sample["m0"] for sample in samples if sample):
        for n, length in experience(rollout):
            for t in range(length):
                key, step = life_of(rollout["obs"][t, n])
                inputs, prev_action, prev_reward = by_life[key][step]
                torch.testing.assert_close(rollout["action_dist_inputs"][t, n], inputs, rtol=1e-4, atol=1e-5)
                if "lstm_use_prev_action" in memory:
                    assert rollout["prev_actions"][t, n] == prev_action
                    assert rollout["prev_rewards"][t, n] == prev_reward
        logp = module.get_exploration_action_dist_cls().from_logits(rollout["action_dist_inputs"])
        assert torch.equal(rollout["action_logp"], logp.logp(rollout["actions"]))
        if module.is_stateful():
            batch = sequence_batch(module, rollout)
            with torch.no_grad():
                out = module.forward_exploration({**batch})["action_dist_inputs"]
            mask = batch["loss_mask"]
            assert int(mask.sum()) == rollout.num_env_steps
            torch.testing.assert_close(out[mask], batch["action_dist_inputs"][mask], rtol=1e-4, atol=1e-5)
    group.stop()


def test_ids_may_go_on_for_ever():
    group = group_for({"agents": None, "p_wait": 0.1, "p_end": 0.5, "p_come": 1.0, "limit": 50, "crowd": 12}, modules=2)
    samples = sampled(group, 100, 9)
    record = the_record()
    assert len({life.agent for life in record.values()}) > 10_000
    check_rows(samples, record)
    assert all(sample[f"m{k}"].num_envs <= 36 for sample in samples for k in range(2))
    result = group.get_metrics()
    assert len(result["agent_episode_returns_mean"]) <= 1000
    assert len(result["num_agent_steps_sampled_lifetime"]) <= 1000
    assert set(result["module_episode_returns_mean"]) == {"m0", "m1"}
    assert len(group.get_state()["stats"]["agents"]["agents"]["names"]) <= 1000
    group.stop()


def test_two_runs_of_a_seed_are_equal_bit_for_bit():
    runs = []
    for _ in range(2):
        group = group_for({"agents": 4, "seed": 11}, envs=2, modules=2, model_config={"use_lstm": True})
        runs.append(sampled(group, 7, 6))
        group.stop()
    for first, second in zip(*runs, strict=True):
        assert list(first) == list(second)
        for module_id, rollout in first.items():
            for name, column in rollout.columns.items():
                assert torch.equal(column, second[module_id][name]), name


def test_an_agent_that_is_never_there_costs_nothing():
    group = group_for({"agents": 1}, modules=2)
    calls = []
    module = group.module["m1"]
    module.register_forward_pre_hook(lambda *args: calls.append(args))
    assert list(group.sample(num_timesteps=20)) == ["m0"]
    assert not calls
    group.stop()


def test_whole_episodes_are_those_of_the_record():
    group = group_for({"agents": 3, "limit": 40, "p_end": 0.1}, envs=3)
    group.sample(num_timesteps=9)
    before = {env.number: len(env.lives) for env in RecordingEnv.made}
    sample = {m: r.clone() for m, r in group.sample(num_episodes=5).items()}
    episodes = [episode for env in RecordingEnv.made for episode in env.episodes]
    assert len(episodes) == 5
    assert sample["m0"].fresh_start
    record = {key: life for key, life in the_record().items() if key[1] >= before[key[0]]}
    assert all(life.end for life in record.values())
    check_rows([sample], record)
    assert group.stats.num_episodes_lifetime == 5
    after = group.sample(num_timesteps=9)["m0"]
    assert after.fresh_start
    group.stop()


def test_an_evaluation_does_not_depend_on_how_episodes_are_shared_out():
    results, state = [], None
    for envs, runners in ((1, 0), (3, 0), (2, 2)):
        made = (
            ACConfig()
            .environment(Seeded)
            .multi_agent(policies=["m"], policy_mapping_fn=lambda agent, episode: "m")
            .env_runners(num_envs_per_env_runner=envs, num_env_runners=runners)
            .execution(executor="local")
            .debugging(seed=7)
        )
        group = EnvRunnerGroup(made.prepared())
        state = state or group.module.get_state()
        group.sync_weights(Weights(1, state))
        result = group.run_episodes(7)
        results.append({k: v for k, v in result.items() if "duration" not in k})
        group.stop()
    assert results[0]["num_episodes"] == 7
    assert results[0] == results[1] == results[2]
