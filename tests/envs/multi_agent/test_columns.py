"""Columns of agents beyond plain observations: the state of the env, texts, composed actions, clipped rewards."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from recording_env import RecordingEnv

from actor_critic import ACConfig
from rlkit_core import RLModuleSpec, TorchRLModule
from rlkit_core.distributions import TorchCategorical
from rlkit_core.envs import EnvRunnerGroup, MultiAgentEnv


class ReadsState(TorchRLModule):
    """Acts by chance, and asks for the env's state; packs texts by their length."""

    input_columns = ("obs", "env_state")

    def setup(self):
        self.seen = []
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def _forward(self, batch, **kwargs):
        self.seen.append(batch["env_state"].clone())
        return {"action_dist_inputs": torch.zeros(len(batch["env_state"]), 4)}

    def get_exploration_action_dist_cls(self):
        return TorchCategorical

    get_inference_action_dist_cls = get_train_action_dist_cls = get_exploration_action_dist_cls


def group_for(env, spec, env_config=None, **environment):
    RecordingEnv.made.clear()
    made = (
        ACConfig()
        .environment(env, env_config=env_config or {}, **environment)
        .multi_agent(policies=["m"], policy_mapping_fn=lambda agent, episode: "m")
        .env_runners(num_envs_per_env_runner=2)
        .rl_module(rl_module_spec=spec)
        .debugging(seed=3)
    )
    return EnvRunnerGroup(made.prepared())


def test_the_envs_state_is_a_column_with_what_follows_it():
    config = {"agents": 3, "p_end": 0.2, "limit": 9, "seed": 4}
    group = group_for(RecordingEnv, RLModuleSpec(module_class=ReadsState), config)
    for _ in range(4):
        rollout = group.sample(num_timesteps=14)["m"]
        states = rollout["env_state"]
        finals = {}
        if rollout.final_index is not None:
            finals = dict(zip(rollout.final_index.tolist(), rollout.final_inputs["env_state"], strict=True))
        for n, length in enumerate(rollout.column_lengths.tolist()):
            for t in range(length):
                env, number, step, _ = rollout["obs"][t, n].tolist()
                life = RecordingEnv.made[int(env)].lives[int(number)]
                assert np.array_equal(states[t, n], life.states[int(step)])
                following = finals.get(t * rollout.num_envs + n)
                if following is None and t + 1 == rollout.num_steps:
                    following = rollout.bootstrap_inputs["env_state"][n]
                if following is None:
                    following = states[t + 1, n]
                ended = life.end is not None and int(step) + 1 == len(life.actions)
                if ended and life.end == "truncated":
                    assert np.array_equal(following, life.last_state)
                elif not ended:
                    assert np.array_equal(following, life.states[int(step) + 1])
    group.stop()


class Talking(MultiAgentEnv):
    """Agents in turn, who read texts and act with a dict."""

    possible_agents = ["a", "b", "c"]
    words = ("go left", "right", "stay where you are")

    def __init__(self, config=None):
        super().__init__()
        self.taken = []

    def get_observation_space(self, agent_id):
        return gym.spaces.Dict(
            {
                "text": gym.spaces.Text(20, charset="abcdefghijklmnopqrstuvwxyz "),
                "place": gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
            }
        )

    def get_action_space(self, agent_id):
        return gym.spaces.Dict({"go": gym.spaces.Discrete(3), "force": gym.spaces.Box(0.0, 2.0, (1,), np.float32)})

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return {"a": self._obs()}, {}

    def step(self, action_dict):
        ((agent, action),) = action_dict.items()
        assert self.get_action_space(agent).contains(action), action
        self.taken.append((agent, action))
        self.t += 1
        following = self.possible_agents[self.t % 3]
        return {following: self._obs()}, {agent: 5.0}, {"__all__": self.t == 10}, {"__all__": False}, {}

    def _obs(self):
        return {"text": self.words[self.t % 2], "place": np.full(2, self.t / 10, np.float32)}


class Reader(TorchRLModule):
    """Packs a text into its letters."""

    def setup(self):
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def observation_packs(self):
        return {("text",): letters}

    def _forward(self, batch, **kwargs):
        count = len(batch["obs"]["place"])
        assert batch["obs"]["text"]["letters"].shape[0] == count
        return {"actions": {"go": torch.full((count,), 2), "force": torch.full((count, 1), 1.5)}}


def letters(space, observations):
    longest = max(len(text) for text in observations)
    rows = [[ord(c) for c in text] + [0] * (longest - len(text)) for text in observations]
    return {"letters": np.array(rows, np.int64)}


def test_texts_and_composed_actions_in_turn():
    group = group_for(Talking, RLModuleSpec(module_class=Reader), clip_rewards=1.0)
    for _ in range(5):
        rollout = group.sample(num_timesteps=14)["m"]
        read = rollout["obs"]["text"]["letters"]
        assert set(rollout["actions"]) == {"go", "force"}
        for n, length in enumerate(rollout.column_lengths.tolist()):
            for t in range(length):
                step = round(float(rollout["obs"]["place"][t, n, 0]) * 10)
                text = "".join(chr(c) for c in read[t, n].tolist() if c)
                assert text == Talking.words[step % 2]
        assert rollout["rewards"][rollout.loss_mask].unique().tolist() == [1.0]
    group.stop()
