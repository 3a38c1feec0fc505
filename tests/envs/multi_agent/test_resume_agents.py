"""As with one agent: a save changes nothing, and another runner goes on in the middle of lives, to the last bit."""

from __future__ import annotations

import logging
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from mpe2 import simple_spread_v3
from pettingzoo.classic import tictactoe_v3

from actor_critic import ACConfig
from rlkit_core.checkpoint import strict_json
from rlkit_core.checkpoint.tree import EncodedTree, decode_tree, encode_tree
from rlkit_core.envs import EnvRunnerGroup, MultiAgentEnv
from rlkit_core.spaces import leaves
from rlkit_core.testing import MultiAgentCartPole


class Crowd(MultiAgentEnv):
    """Agents turn up, wait, act, are paid late and end, all as the env's own random numbers say."""

    possible_agents = tuple(f"a{k}" for k in range(5))
    observation_space = gym.spaces.Dict(
        {"x": gym.spaces.Box(-np.inf, np.inf, (2,), np.float32), "n": gym.spaces.Discrete(4)}
    )

    def __init__(self, length: int = 14, box: bool = False, forgets: bool = False) -> None:
        self.length, self.forgets = length, forgets
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32) if box else gym.spaces.Discrete(3)
        self.resets = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets += 1
        self.t, self.there, self.waiting = 0, ["a0", "a3"], {}
        self.life = int(self.np_random.integers(self.length // 2, self.length + 1))
        return {agent: self.seen() for agent in self.there}, {}

    def seen(self):
        x = self.np_random.normal(size=2).astype(np.float32) + (self.resets if self.forgets else 0)
        return {"x": x, "n": int(self.np_random.integers(4))}

    def step(self, action_dict):
        self.t += 1
        observations, rewards, terminateds, truncateds = {}, {}, {}, {}
        for agent, action in action_dict.items():
            self.waiting[agent] = float(np.sum(action))
        for agent in list(self.there):
            if agent not in self.waiting:
                continue
            if self.np_random.random() < 0.3:  # it waits, and may be paid meanwhile
                if self.np_random.random() < 0.5:
                    rewards[agent] = float(self.np_random.normal())
                continue
            rewards[agent] = self.waiting.pop(agent) + float(self.np_random.normal())
            end = self.np_random.random()
            if end < 0.15 and len(self.there) > 1:
                self.there.remove(agent)
                (terminateds if end < 0.08 else truncateds)[agent] = True
            observations[agent] = self.seen()
        for agent in self.possible_agents:
            if agent not in self.there and self.np_random.random() < 0.2 and agent not in observations:
                self.there.append(agent)
                observations[agent] = self.seen()
        if self.t >= self.life:
            truncateds["__all__"] = True
            observations.update({agent: self.seen() for agent in self.there})
        return observations, rewards, terminateds, truncateds, {}


def spread_in_parallel() -> Any:
    return simple_spread_v3.parallel_env(max_cycles=11)


def spread_in_turns() -> Any:
    return simple_spread_v3.env(max_cycles=7)


def through_files(state: Any) -> Any:
    """As a checkpoint gives it back."""
    encoded = encode_tree(state)
    document = strict_json.loads(strict_json.dumps(encoded.document), "state.json")
    return decode_tree(EncodedTree(document, {name: tensor.clone() for name, tensor in encoded.tensors.items()}))


def config(env: Any = Crowd, envs: int = 2, modules: int = 2, model: dict[str, Any] | None = None, **env_config: Any):
    ids = [f"m{k}" for k in range(modules)]
    return (
        ACConfig()
        .environment(env, env_config=env_config)
        .multi_agent(policies=ids, policy_mapping_fn=lambda agent, episode: ids[ord(str(agent)[-1]) % modules])
        .env_runners(num_envs_per_env_runner=envs)
        .rl_module(model_config={"fcnet_hiddens": [4], "lstm_cell_size": 3, "max_seq_len": 4, **(model or {})})
        .debugging(seed=3)
    )


def everything(rollouts: dict[str, Any]) -> dict[str, Any]:
    parts = {}
    for module_id, rollout in rollouts.items():
        for name, column in rollout.columns.items():
            parts[f"{module_id} {name}"] = column
        more = ("bootstrap_obs", "bootstrap_inputs", "final_obs", "final_inputs", "final_index", "loss_mask", "cut")
        for name in (*more, "state_in", "episode_starts", "fresh_start"):
            parts[f"{module_id} {name}"] = getattr(rollout, name)
    return {
        f"{name}/{k}": leaf.clone() if isinstance(leaf, torch.Tensor) else leaf
        for name, part in parts.items()
        for k, leaf in enumerate(leaves(part))
    }


def same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == b[name].dtype, name
            assert torch.equal(value, b[name]), name
        else:
            assert value == b[name], name


def metrics(group: EnvRunnerGroup) -> str:
    left_out = ("episode_duration_sec_mean", "num_module_columns")
    return repr({name: value for name, value in group.get_metrics().items() if name not in left_out})


LAYOUTS: list[dict[str, Any]] = [
    {},
    {"length": 500, "envs": 1, "box": True},
    {"model": {"use_lstm": True, "lstm_use_prev_action": True, "lstm_use_prev_reward": True}},
    {"env": MultiAgentCartPole, "num_agents": 3, "modules": 1, "envs": 3},
    {"env": spread_in_parallel, "modules": 1},
    {"env": spread_in_turns, "modules": 1, "model": {"use_gru": True}},
    {"env": tictactoe_v3.env, "modules": 2, "model": {"fusionnet_hiddens": [4]}},
]


def named(layout: dict[str, Any]) -> str:
    """The layout in a test's id, which is the same in every process: functions by their names."""
    return str({key: getattr(value, "__qualname__", value) for key, value in layout.items()})


@pytest.mark.parametrize("layout", LAYOUTS, ids=named)
@pytest.mark.parametrize("pieces", [(3, 1, 7, 5, 20), (40, 2, 30)], ids=str)
def test_another_runner_goes_on_to_the_last_bit(layout, pieces, caplog) -> None:
    made = config(**layout).prepared()
    alone, who = EnvRunnerGroup(made), EnvRunnerGroup(made)
    with caplog.at_level(logging.WARNING, "rlkit_core.envs"):
        for index, steps in enumerate(pieces):
            wanted = everything(alone.sample(num_timesteps=steps * alone.num_envs))
            same(everything(who.sample(num_timesteps=steps * alone.num_envs)), wanted)
            assert metrics(who) == metrics(alone)
            state = through_files(who.get_state())
            if index:
                who.stop()
                who = EnvRunnerGroup(made)
                who.set_state(state)
    alone.stop()
    who.stop()
    assert not caplog.records


def test_an_env_that_is_not_deterministic_begins_anew_alone_and_is_named(caplog) -> None:
    made = config(forgets=True, envs=3).prepared()
    group, other = EnvRunnerGroup(made), EnvRunnerGroup(made)
    group.sample(num_timesteps=3 * 16)
    state = through_files(group.get_state())
    played = [env["open"]["steps"] for env in state["runners"]["0"]["open_episodes"]["envs"]["envs"]]
    other.set_state(state)
    rollouts = other.sample(num_timesteps=3 * 5)
    lost = {n for n in range(3) if any(f"env {n} of runner 0 begins" in text for text in caplog.messages)}
    assert lost == {n for n, env in enumerate(group.local_env_runner.envs) if env.env.env.resets > 1}
    assert lost
    assert all("not deterministic given its seed" in text for text in caplog.messages)
    assert len(other.not_exact()) == len(lost)
    assert not group.not_exact()
    assert sum(played) > 0
    assert sum(rollout.num_env_steps for rollout in rollouts.values()) > 0
    other.sample(num_timesteps=60)
    for one in (group, other):
        one.stop()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c.environment(replay=False), "environment(replay=False)"),
        (lambda c: c.environment(replay_limit=2), "more steps than replay_limit=2"),
        (lambda c: c.debugging(seed_resets=False), "without a seed"),
    ],
)
def test_what_is_not_kept_is_said(change, why, caplog) -> None:
    made = change(config(length=12)).prepared()
    group, other = EnvRunnerGroup(made), EnvRunnerGroup(made)
    group.sample(num_timesteps=2 * 19)
    other.set_state(through_files(group.get_state()))
    other.sample(num_timesteps=2)
    assert 1 <= len(caplog.messages) <= 2  # an env may be in its first steps
    assert all(why in text for text in caplog.messages)
    other.stop()
    group.stop()
