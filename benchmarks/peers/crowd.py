"""What a step of an agent costs: a hundred agents of one module in one env, beside a hundred envs of one agent.

Both play the same CartPoles, which stand up again by themselves; episodes are cut after 200 steps. Nothing is learned.

python benchmarks/peers/crowd.py crowd|alone --steps N [--threads 1] [--seed 1]
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
from _span import measure, parse_order
from gymnasium.envs.classic_control import CartPoleEnv

from rlkit_core import get_algorithm_config
from rlkit_core.envs import EnvRunnerGroup, MultiAgentEnv

AGENTS = 100
LIMIT = 200
#: Steps of each agent.
ROLLOUT = 100


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


def group_of(crowd: bool, seed: int) -> EnvRunnerGroup:
    """A runner in this process, of one env or of as many as there are agents."""
    config = get_algorithm_config("ppo").debugging(seed=seed).rl_module(model_config={"fcnet_hiddens": [64, 64]})
    config.env_runners(num_envs_per_env_runner=1 if crowd else AGENTS)
    if crowd:
        config.environment(Crowd, env_config={"agents": AGENTS})
        config.multi_agent(policies=["shared"], policy_mapping_fn=lambda agent, episode: "shared")
    else:
        config.environment(Alone)
    return EnvRunnerGroup(config.prepared())


def main() -> None:
    """Sample as many steps of agents; the first rollout is not measured."""
    name, work = parse_order(("crowd", "alone"))
    group = group_of(name == "crowd", work.seed)
    rollout = ROLLOUT * group.num_envs
    group.sample(num_timesteps=rollout)
    times = max(1, work.steps // (ROLLOUT * AGENTS))

    def sample() -> tuple[int, float]:
        for _ in range(times):
            group.sample(num_timesteps=rollout)
        return times * ROLLOUT * AGENTS, math.nan

    measure(sample, ["rlkit-core", "rlkit-ppo", "torch", "gymnasium", "numpy"])


if __name__ == "__main__":
    main()
