"""What a step of an agent costs: a hundred agents of one module in one env, beside a hundred envs of one agent.

Both play the same CartPoles, which stand up again by themselves; episodes are cut after 200 steps. CPU time is taken,
in turns in one process: the least of all rounds, and the median of the ratios within rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import gymnasium as gym
import torch
from gymnasium.envs.classic_control import CartPoleEnv

from rlkit_core.envs import EnvRunnerGroup, MultiAgentEnv
from rlkit_ppo import PPOConfig

LIMIT = 200


class Alone(gym.Env[Any, Any]):
    """One CartPole."""

    def __init__(self) -> None:
        self.pole = CartPoleEnv()
        self.observation_space, self.action_space = self.pole.observation_space, self.pole.action_space
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Stand up."""
        self.steps = 0
        return self.pole.reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Push, and stand up where it has fallen."""
        self.steps += 1
        observation, reward, fallen, _, info = self.pole.step(action)
        if fallen:
            observation, _ = self.pole.reset()
        return observation, reward, False, self.steps >= LIMIT, info


class Crowd(MultiAgentEnv):
    """As many CartPoles as ``agents`` says."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.poles = {agent: CartPoleEnv() for agent in range(config["agents"])}
        self.possible_agents = list(self.poles)
        self.observation_spaces = {agent: pole.observation_space for agent, pole in self.poles.items()}
        self.action_spaces = {agent: pole.action_space for agent, pole in self.poles.items()}
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Let all stand up."""
        self.steps = 0
        seeds = {agent: None if seed is None else seed + agent for agent in self.poles}
        return {agent: pole.reset(seed=seeds[agent])[0] for agent, pole in self.poles.items()}, {}

    def step(self, action_dict: Any) -> Any:
        """Push all, and let those stand up that have fallen."""
        self.steps += 1
        observations, rewards = {}, {}
        for agent, action in action_dict.items():
            pole = self.poles[agent]
            observations[agent], rewards[agent], fallen, _, _ = pole.step(action)
            if fallen:
                observations[agent], _ = pole.reset()
        return observations, rewards, {"__all__": False}, {"__all__": self.steps >= LIMIT}, {}


def group_of(agents: int, *, crowd: bool, seed: int) -> EnvRunnerGroup:
    """A runner in this process, of one env or of as many as there are agents."""
    config = PPOConfig().debugging(seed=seed).rl_module(model_config={"fcnet_hiddens": [64, 64]})
    config.env_runners(num_envs_per_env_runner=1 if crowd else agents)
    if crowd:
        config.environment(Crowd, env_config={"agents": agents})
        config.multi_agent(policies=["shared"], policy_mapping_fn=lambda agent, episode: "shared")
    else:
        config.environment(Alone)
    return EnvRunnerGroup(config.prepared())


def main() -> None:
    """Measure both in turns, and print microseconds of CPU time for a step of an agent."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--steps", type=int, default=100, help="steps of a round")
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    order = parser.parse_args()
    torch.set_num_threads(order.threads)
    groups = {name: group_of(order.agents, crowd=name == "crowd", seed=order.seed) for name in ("alone", "crowd")}
    spent: dict[str, list[float]] = {name: [] for name in groups}
    for repeat in range(order.repeats + 1):
        for name, group in groups.items():
            start = time.process_time()
            group.sample(num_timesteps=order.steps * group.num_envs)
            if repeat:
                spent[name].append((time.process_time() - start) / order.steps / order.agents * 1e6)
    ratio = statistics.median(crowd / alone for crowd, alone in zip(spent["crowd"], spent["alone"], strict=True))
    least = {name: min(values) for name, values in spent.items()}
    print(json.dumps({"agents": order.agents, **least, "ratio": ratio}))


if __name__ == "__main__":
    main()
