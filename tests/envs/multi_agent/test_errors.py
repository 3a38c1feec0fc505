"""What a broken env is told: which env, agent and step, what was expected, what was seen."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from actor_critic import ACConfig
from rlkit_core.envs import EnvRunnerGroup, MultiAgentEnv
from rlkit_core.errors import EnvError, NonFiniteError


class Broken(MultiAgentEnv):
    """Agents ``x`` and ``y``; from step 3 on what the config's function says happens."""

    def __init__(self, config):
        super().__init__()
        self.possible_agents = ["x", "y"]
        self.change = config["change"]

    def get_observation_space(self, agent_id):
        if agent_id == "stranger":
            raise KeyError(agent_id)
        return gym.spaces.Box(-1.0, 1.0, (3 if agent_id == "wide" else 2,), np.float32)

    def get_action_space(self, agent_id):
        return gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return {"x": np.zeros(2, np.float32), "y": np.zeros(2, np.float32)}, {}

    def step(self, action_dict):
        self.t += 1
        flags = {"__all__": self.t >= 20}
        step = [dict.fromkeys(action_dict, np.zeros(2, np.float32)), dict.fromkeys(action_dict, 1.0)]
        step += [flags, {"__all__": False}, {}]
        if self.t >= 3:
            self.change(self.t, *step)
        return tuple(step)


def group_for(change):
    made = (
        ACConfig()
        .environment(Broken, env_config={"change": change})
        .multi_agent(policies=["m"], policy_mapping_fn=lambda agent, episode: "m")
        .env_runners(num_envs_per_env_runner=2, restart_failed_sub_environments=False)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .debugging(seed=1)
    )
    return EnvRunnerGroup(made.prepared())


def unknown(t, obs, rewards, terminateds, truncateds, infos):
    obs["stranger"] = np.zeros(2, np.float32)


def wide(t, obs, rewards, terminateds, truncateds, infos):
    obs["wide"] = np.zeros(3, np.float32)


def new_with_another_shape(t, obs, rewards, terminateds, truncateds, infos):
    obs["z"] = np.zeros((2, 2), np.float32)


def another_shape(t, obs, rewards, terminateds, truncateds, infos):
    obs["y"] = np.zeros(3, np.float32)


def not_a_number(t, obs, rewards, terminateds, truncateds, infos):
    obs["x"] = np.array([0.0, np.nan], np.float32)


def infinite_reward(t, obs, rewards, terminateds, truncateds, infos):
    rewards["y"] = np.inf


def reward_for_nobody(t, obs, rewards, terminateds, truncateds, infos):
    rewards["z"] = 2.0


def reward_after_the_end(t, obs, rewards, terminateds, truncateds, infos):
    if t == 3:
        terminateds["x"] = True
        del obs["x"]
    else:
        rewards["x"] = 0.5


def bad_last_observation(t, obs, rewards, terminateds, truncateds, infos):
    truncateds["x"] = True
    obs["x"] = np.zeros(5, np.float32)


def last_observation_not_a_number(t, obs, rewards, terminateds, truncateds, infos):
    truncateds["x"] = True
    obs["x"] = np.full(2, np.inf, np.float32)


def raises(t, obs, rewards, terminateds, truncateds, infos):
    raise RuntimeError("out of fuel")


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        (unknown, EnvError, ["Broken", "step 3", "'stranger'"]),
        (wide, EnvError, ["Broken", "'wide'", "module 'm'", "(3,)"]),
        (new_with_another_shape, EnvError, ["Broken", "step 3", "'z'", "(2, 2)", "(2,)"]),
        (another_shape, EnvError, ["Broken", "step 3", "'y'", "(3,)", "(2,)"]),
        (not_a_number, NonFiniteError, ["Broken", "step 3", "'x'", "non-finite observation"]),
        (infinite_reward, NonFiniteError, ["Broken", "step 3", "'y'", "inf"]),
        (reward_for_nobody, EnvError, ["Broken", "step 3", "'z'", "2.0", "never acted"]),
        (reward_after_the_end, EnvError, ["Broken", "step 4", "'x'", "0.5", "has ended"]),
        (bad_last_observation, EnvError, ["Broken", "step 3", "'x'", "last observation", "(5,)"]),
        (last_observation_not_a_number, NonFiniteError, ["Broken", "step 3", "'x'", "non-finite last observation"]),
        (raises, EnvError, ["Broken", "step 3", "out of fuel"]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_wrong_is_told_with_its_place(change, kind, told):
    group = group_for(change)
    with pytest.raises(kind) as caught:
        group.sample(num_timesteps=20)
    for part in ["env 0", "runner 0", *told]:
        assert part in str(caught.value), str(caught.value)
    group.stop()


def test_after_an_error_the_envs_begin_anew():
    broken = []

    def once(t, *step):
        if not broken:
            broken.append(t)
            raise RuntimeError("a glitch")

    group = group_for(once)
    with pytest.raises(EnvError, match="a glitch"):
        group.sample(num_timesteps=20)
    rollout = group.sample(num_timesteps=20)["m"]
    assert rollout.fresh_start
    assert (rollout.num_steps, rollout.num_envs) == (10, 4)
    group.stop()


def test_one_rewards_and_flags_of_those_who_are_gone_are_passed_over():
    def gone(t, obs, rewards, terminateds, truncateds, infos):
        if t == 3:
            terminateds["x"] = True
        elif t > 3:
            terminateds["x"] = True
            rewards["x"] = 0.0
            obs["x"] = np.zeros(2, np.float32)

    group = group_for(gone)
    rollout = group.sample(num_timesteps=12)["m"]
    assert rollout.loss_mask.sum(0).tolist() == [3, 6, 3, 6]
    assert rollout["terminateds"].nonzero().tolist() == [[2, 0], [2, 2]]
    group.stop()
