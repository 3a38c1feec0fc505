"""Episodes that are played for an evaluation and do not end: cut, counted, and told of as such."""

from __future__ import annotations

import time

import gymnasium as gym
import numpy as np
import pytest

from actor_critic import ACConfig
from rlkit_core.envs import EnvRunnerGroup, MultiAgentEnv
from rlkit_core.rl_module.weights import Weights
from rlkit_core.seeding import SeedTree

LIMIT = 150


def length_of(seed):
    """Of an episode; every third never ends."""
    return (10 + seed % 50) if seed % 3 else 10**9


class Endless(gym.Env):
    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    pause = 0.0

    def reset(self, *, seed=None, options=None):
        self.t, self.length = 0, length_of(seed or 0)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        time.sleep(self.pause)
        self.t += 1
        return np.zeros(2, np.float32), 1.0, self.t == self.length, False, {"is_success": True}


class Slow(Endless):
    pause = 0.01


class EndlessAgents(MultiAgentEnv):
    """Agent ``b`` leaves after five steps."""

    def __init__(self, config=None):
        super().__init__()
        self.possible_agents = ["a", "b"]

    def get_observation_space(self, agent_id):
        return Endless.observation_space

    def get_action_space(self, agent_id):
        return Endless.action_space

    def reset(self, *, seed=None, options=None):
        self.t, self.length = 0, length_of(seed or 0)
        return {agent: np.zeros(2, np.float32) for agent in "ab"}, {}

    def step(self, action_dict):
        self.t += 1
        obs = {agent: np.zeros(2, np.float32) for agent in action_dict}
        over = self.t == self.length
        flags = {"__all__": over, **({"b": True} if self.t == 5 else {})}
        return obs, dict.fromkeys(action_dict, 1.0), flags, {"__all__": False}, {}


def group_for(env, envs=1, runners=0, mode="auto", **bounds):
    made = (
        ACConfig()
        .environment(env)
        .env_runners(num_envs_per_env_runner=envs, num_env_runners=runners, gym_env_vectorize_mode=mode)
        .evaluation(**bounds)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .execution(executor="local")
        .debugging(seed=7)
    )
    if env is EndlessAgents:
        made.multi_agent(policies=["m"], policy_mapping_fn=lambda agent, episode: "m")
    return EnvRunnerGroup(made.prepared())


EPISODES = 14


def expected():
    seeds = SeedTree(3)
    return [length for k in range(EPISODES) if (length := length_of(seeds.child(k).seed())) < LIMIT]


@pytest.mark.parametrize(
    ("env", "mode"), [(Endless, "auto"), (Endless, "gymnasium_sync"), (EndlessAgents, "auto")], ids=str
)
def test_an_episode_that_takes_too_long_is_cut_and_the_next_one_played(env, mode):
    ends, results, state = expected(), [], None
    assert 0 < len(ends) < EPISODES
    for envs, runners in ((1, 0), (4, 0), (3, 2)):
        group = group_for(env, envs, runners, mode, evaluation_max_steps_per_episode=LIMIT)
        state = state or group.module.get_state()
        group.sync_weights(Weights(1, state))
        result = group.run_episodes(EPISODES, seeds=SeedTree(3))
        group.stop()
        results.append({k: v for k, v in result.items() if "duration" not in k and k != "num_env_steps_sampled"})
        assert result["num_episodes"] == len(ends)
        assert result["num_episodes_cut"] == EPISODES - len(ends)
        assert result["episode_len_mean"] == pytest.approx(np.mean(ends))
        assert result["episode_len_max"] == max(ends)
        cut_steps = result["num_env_steps_sampled"] - sum(ends)
        assert (EPISODES - len(ends)) * LIMIT <= cut_steps < (EPISODES - len(ends)) * (LIMIT + 64)
    for one in results:
        one.pop("num_env_steps_sampled_lifetime")
    assert results[0] == results[1] == results[2]


def test_agents_that_ended_in_a_cut_episode_are_not_told_of():
    group = group_for(EndlessAgents, 4, evaluation_max_steps_per_episode=LIMIT)
    result = group.run_episodes(EPISODES, seeds=SeedTree(3))
    assert result["agent_episode_returns_mean"] == {"a": pytest.approx(np.mean(expected())), "b": 5.0}
    report = group.local_env_runner.play_episodes(range(EPISODES), explore=False, seeds=SeedTree(3))
    assert len(report.ended) == 2 * len(expected())
    assert len(report.cut) == EPISODES - len(expected())
    group.stop()


@pytest.mark.parametrize("env", [Slow, EndlessAgents], ids=["single", "agents"])
def test_where_nothing_ends_for_too_long_all_is_cut(env):
    group = group_for(env, 2, evaluation_max_steps_per_episode=None, evaluation_sample_timeout_s=0.6)
    started = time.perf_counter()
    result = group.run_episodes(EPISODES, seeds=SeedTree(3))
    assert time.perf_counter() - started < 30
    assert result["num_episodes_cut"] + result["num_episodes"] == EPISODES
    assert result["num_episodes_cut"] > 0
    after = group.sample(num_timesteps=6)["m" if env is EndlessAgents else "default_policy"]
    assert after.fresh_start
    group.stop()


def test_an_evaluation_says_what_was_cut_and_has_no_mean_to_compare():
    from rlkit_core.algorithm.results import evaluation_return_mean

    config = (
        ACConfig()
        .environment(Endless)
        .training(train_batch_size=16, minibatch_size=16)
        .evaluation(evaluation_interval=1, evaluation_duration=9, evaluation_max_steps_per_episode=80)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .debugging(seed=7)
    )
    with config.build() as algo:
        with pytest.warns(UserWarning, match=r"\d of 9 evaluation episodes did not end and were cut .*max_steps_per"):
            result = algo.train()
        found = result["evaluation"]["env_runners"]
        assert 0 < found["num_episodes_cut"] < 9
        assert found["episode_return_mean"] < 80
        assert np.isnan(evaluation_return_mean(result))
