"""Envs as runners play them: real ones of PettingZoo, and what a broken one is told."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from actor_critic import ACConfig
from rlkit_core.envs import EnvRunnerGroup, MultiAgentEnv
from rlkit_core.errors import EnvError

ROW = np.zeros(2, np.float32)


def group_for(env, agents, **env_config):
    config = (
        ACConfig()
        .environment(env, env_config=env_config)
        .multi_agent(policies=["shared"], policy_mapping_fn=lambda agent, episode, **kw: "shared")
        .env_runners(num_envs_per_env_runner=2)
        .training(train_batch_size=64, minibatch_size=32, num_epochs=1)
        .debugging(seed=5)
    )
    return EnvRunnerGroup(config.prepared())


@pytest.mark.parametrize(
    ("env", "agents", "settings"),
    [
        ("mpe2/simple_spread_v3", 3, {}),
        ("mpe2.simple_spread_v3:env", 3, {"N": 3, "max_cycles": 5}),
        ("classic/rps_v2", 2, {"max_cycles": 4}),
    ],
)
def test_real_envs_are_played(env, agents, settings):
    group = group_for(env, agents, **settings)
    rollout = group.sample(num_timesteps=60)["shared"]
    assert rollout["obs"].shape[1] == 2 * agents
    assert group.num_env_steps_sampled_lifetime == 60
    group.stop()


def test_tictactoe_never_sees_an_illegal_move():
    group = group_for("classic/tictactoe_v3", 2)
    rollout = group.sample(num_timesteps=80)["shared"]
    masks, actions = rollout["obs"]["action_mask"], rollout["actions"]
    real = np.ones(actions.shape, bool) if rollout.loss_mask is None else np.asarray(rollout.loss_mask)
    chosen = np.take_along_axis(np.asarray(masks), np.asarray(actions)[..., None].astype(int), -1)[..., 0]
    assert chosen[real].all()
    group.stop()


class Fine(MultiAgentEnv):
    """Two agents for ever; subclasses break one thing at the second step."""

    possible_agents = ("a", "b")
    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config=None):
        self.t = 0

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return {"a": ROW, "b": ROW}, {}

    def step(self, action_dict):
        self.t += 1
        result = [dict.fromkeys(action_dict, ROW), dict.fromkeys(action_dict, 1.0), {"__all__": False}, {}, {}]
        if self.t == 2:
            self.break_(*result[:3])
        return tuple(result)

    def break_(self, observations, rewards, terminateds):
        pass


class UnknownAgent(Fine):
    def break_(self, observations, rewards, terminateds):
        observations["c"] = ROW


class AnotherSpace(Fine):
    def break_(self, observations, rewards, terminateds):
        observations["b"] = np.zeros(3, np.float32)


class NeverActed(Fine):
    def reset(self, *, seed=None, options=None):
        return {"a": super().reset()[0]["a"]}, {}

    def break_(self, observations, rewards, terminateds):
        rewards["b"] = 1.0


class LongGone(Fine):
    def step(self, action_dict):
        self.t += 1
        rewards = {"a": 1.0, "b": 1.0} if self.t == 2 else {}
        return {"a": ROW}, rewards, {"b": self.t == 1, "__all__": False}, {}, {}


class Refuses(Fine):
    def break_(self, observations, rewards, terminateds):
        raise ValueError("an action of an agent that left")


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (UnknownAgent, "step 2, agent 'c': the env knows no observation space"),
        (AnotherSpace, "step 2, agent 'b': its observation should be .*shape"),
        (NeverActed, "step 2, agent 'b': it got the reward 1.0, but it has never acted"),
        (LongGone, "step 2, agent 'b': it got the reward 1.0, but it has ended"),
        (Refuses, r"step 2: step\(\) raised ValueError: an action of an agent that left"),
    ],
)
def test_a_broken_env_is_told_which_agent_and_step(env, message):
    group = group_for(env, 2)
    with pytest.raises(EnvError, match=rf"env {env.__name__}, {message}"):
        group.sample(num_timesteps=20)


def test_one_that_is_fine_is_played():
    group = group_for(Fine, 2)
    assert float(group.sample(num_timesteps=20)["shared"]["rewards"].sum()) == 40.0
    group.stop()
