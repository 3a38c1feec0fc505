"""The runner of envs with several agents: rollouts of modules, trained in this process."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.errors import ConfigError
from rlkit_core.testing import MultiAgentCartPole


def config_for(
    envs=2, agents=2, policies=("p0", "p1"), mapping=lambda agent, episode, **kw: f"p{agent}", **env_runners
):
    return (
        ACConfig()
        .environment(MultiAgentCartPole, env_config={"num_agents": agents})
        .multi_agent(policies=list(policies), policy_mapping_fn=mapping)
        .env_runners(num_envs_per_env_runner=envs, **env_runners)
        .training(train_batch_size=64, minibatch_size=32, num_epochs=2)
        .debugging(seed=5)
    )


def test_two_agents_with_a_module_each_train():
    algo = config_for().build()
    before = {mid: algo.learner_group.get_weights().state[mid] for mid in ("p0", "p1")}
    result = algo.train()
    assert set(result["learners"]) == {"p0", "p1", "__all_modules__"}
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] == 64
    after = algo.learner_group.get_weights().state
    for mid in ("p0", "p1"):
        assert any(not torch.equal(a, b) for a, b in zip(tensors(before[mid]), tensors(after[mid]), strict=True))
    played = algo.evaluate(3)["env_runners"]
    assert played["num_episodes"] == 3
    assert played["episode_return_mean"] >= played["episode_len_mean"]  # two agents, a reward of 1 each
    algo.stop()


def tensors(state):
    for value in state.values():
        yield from tensors(value) if isinstance(value, dict) else [torch.as_tensor(np.asarray(value))]


def test_columns_are_agents_of_envs():
    group = EnvRunnerGroup(config_for(envs=3).prepared())
    rollouts = group.sample(num_timesteps=12)
    assert list(rollouts) == ["p0", "p1"]
    for rollout in rollouts.values():
        assert rollout["obs"].shape == (4, 3, 4)
        assert rollout.loss_mask is None
        assert rollout["action_logp"].shape == (4, 3)
    first = {mid: (r.bootstrap_obs.clone(), r.clone()) for mid, r in rollouts.items()}
    for mid, rollout in group.sample(num_timesteps=3).items():
        assert torch.equal(rollout["obs"][0], first[mid][0])
    assert group.num_env_steps_sampled_lifetime == 15
    group.stop()


def test_one_module_for_all_gets_one_rollout():
    config = config_for(envs=2, agents=3, policies=["shared"], mapping=lambda agent, episode: "shared")
    group = EnvRunnerGroup(config.prepared())
    ((module_id, rollout),) = group.sample(num_timesteps=8).items()
    assert module_id == "shared"
    assert rollout["obs"].shape == (4, 6, 4)
    assert rollout.num_env_steps == 24
    group.stop()


def test_two_runs_of_a_seed_are_equal():
    runs = []
    for _ in range(2):
        group = EnvRunnerGroup(config_for(envs=2).prepared())
        runs.append([group.sample(num_timesteps=n)["p1"].clone() for n in (40, 60)])
        group.stop()
    for a, b in zip(*runs, strict=True):
        for name in a.columns:
            assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("mode", ["async", "gymnasium_sync", "vector_entry_point"])
def test_other_ways_of_stepping_are_refused(mode):
    with pytest.raises(ConfigError, match="for envs with one agent"):
        EnvRunnerGroup(config_for(gym_env_vectorize_mode=mode).prepared())
