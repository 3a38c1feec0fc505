"""Modules and mappings that change while agents' episodes are open."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from recording_env import RecordingEnv

from actor_critic import ACConfig
from rlkit_core import RLModuleSpec
from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.errors import ConfigError

LONG = {"agents": 2, "p_wait": 0.0, "p_end": 0.0, "limit": 20}


def by_agent(agent, episode, **kwargs):
    return {"a0": "m0", "a1": "m1"}[agent]


def group_for(env_config=LONG, mapping=by_agent, envs=2, **env_runners):
    RecordingEnv.made.clear()
    made = (
        ACConfig()
        .environment(RecordingEnv, env_config=env_config)
        .multi_agent(policies=["m0", "m1"], policy_mapping_fn=mapping)
        .env_runners(num_envs_per_env_runner=envs, **env_runners)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .debugging(seed=3)
    )
    return EnvRunnerGroup(made.prepared())


def lives_in(rollout):
    mask = torch.ones_like(rollout["terminateds"]) if rollout.loss_mask is None else rollout.loss_mask
    return {(int(env), int(life)) for env, life in rollout["obs"][mask][:, :2].tolist()}


def agents_in(rollout):
    return {RecordingEnv.made[env].lives[life].agent for env, life in lives_in(rollout)}


def test_a_mapping_is_asked_once_an_episode_and_agent():
    asked = []

    def mapping(agent, episode, **kwargs):
        if episode.id_:
            asked.append((episode.id_, episode.env_index, agent, list(episode.agents)))
        return by_agent(agent, episode)

    group = group_for({**LONG, "p_end": 0.3, "p_come": 1.0}, mapping)
    group.sample(num_timesteps=80)  # two episodes in each env, with agents that come back in them
    assert len(asked) == len({entry[:3] for entry in asked}) == 2 * 3 * 2
    assert {entry[1] for entry in asked} == {0, 1}
    assert all(agents[-1] == agent for _, _, agent, agents in asked)
    assert any(len(env.lives) > 4 for env in RecordingEnv.made)
    assert [entry[0] for entry in asked][:2] == ["0-0-1", "0-0-1"]
    group.stop()


def test_a_new_mapping_holds_for_episodes_that_begin_later():
    group = group_for()
    first = group.sample(num_timesteps=10)
    assert {m: agents_in(r) for m, r in first.items()} == {"m0": {"a0"}, "m1": {"a1"}}
    group.set_modules(group.module_set.with_settings(mapping_fn=lambda agent, episode, **kw: "m0"))
    same_episode = group.sample(num_timesteps=10)
    assert {m: agents_in(r) for m, r in same_episode.items()} == {"m0": {"a0"}, "m1": {"a1"}}
    assert not same_episode["m0"].fresh_start
    group.sample(num_timesteps=20)  # to the end of the episode
    later = group.sample(num_timesteps=20)
    assert {m: agents_in(r) for m, r in later.items()} == {"m0": {"a0", "a1"}}
    assert list(group.get_spaces()) == ["m0", "__env__"]
    group.stop()


def test_a_module_that_goes_takes_the_episodes_that_use_it_along(caplog):
    def mapping(agent, episode, **kwargs):
        return "m1" if agent == "a1" and episode.env_index == 1 else "m0"

    group = group_for(mapping=mapping)
    first = {m: r.clone() for m, r in group.sample(num_timesteps=10).items()}
    assert agents_in(first["m1"]) == {"a1"}
    ends = {env.number: len(env.episodes) for env in RecordingEnv.made}
    with caplog.at_level(logging.WARNING, "rlkit_core.envs"):
        group.set_modules(group.module_set.without("m1", mapping_fn=lambda agent, episode, **kw: "m0"))
    assert "'m1'" in caplog.text
    second = group.sample(num_timesteps=10)
    assert list(second) == ["m0"]
    assert second["m0"].fresh_start
    old = lives_in(first["m0"]) & lives_in(second["m0"])
    assert {env for env, _ in old} == {0}  # the other env plays on
    assert {env for env, _ in lives_in(second["m0"])} == {0, 1}
    assert ends == {env.number: len(env.episodes) for env in RecordingEnv.made}
    group.stop()


def test_a_module_that_comes_can_act_at_once():
    group = group_for()
    group.sample(num_timesteps=10)
    spaces = group.get_spaces()

    def mapping(agent, episode, **kwargs):
        return "new" if agent == "a0" else "m1"

    modules = group.module_set.with_module("new", RLModuleSpec(), mapping_fn=mapping, spaces=spaces)
    group.set_modules(modules)
    group.reset_envs()
    assert set(group.sample(num_timesteps=10)) == {"new", "m1"}
    group.stop()


def test_a_mapping_to_nowhere_changes_nothing():
    group = group_for()
    before = group.module_set
    with pytest.raises(ConfigError, match="nowhere"):
        group.set_modules(group.module_set.with_settings(mapping_fn=lambda agent, episode, **kw: "nowhere"))
    assert group.module_set is before
    assert set(group.sample(num_timesteps=10)) == {"m0", "m1"}
    group.stop()


def test_a_runner_goes_on_from_its_state():
    group = group_for()
    group.sample(num_timesteps=30)
    state = group.get_state()
    runs = []
    for _ in range(2):
        RecordingEnv.made[0].random.seed(1)
        RecordingEnv.made[1].random.seed(2)
        group.set_state(state)
        runs.append({m: r.clone() for m, r in group.sample(num_timesteps=30).items()})
        assert group.get_metrics()["num_env_steps_sampled_lifetime"] == 60
    for module_id, rollout in runs[0].items():
        assert torch.equal(rollout["actions"], runs[1][module_id]["actions"])
        assert np.array_equal(rollout["obs"][..., 2:], runs[1][module_id]["obs"][..., 2:])
    group.stop()
