"""Envs that fail, lie, hang or die now and then; when is drawn from the seed of each episode."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.envs import MultiAgentEnv

RAISES = ("raise", "nan", "nan_reward", "shape")
"""What may happen at a step without the process knowing of it."""


class Simulation(Exception):
    """What a simulator raises."""


class Unreliable(gym.Wrapper[Any, Any, Any, Any]):
    """An env with faults.

    Args:
        env: what is to fail.
        chance: of a fault at each step.
        kinds: of which one is drawn: those of :data:`RAISES`, ``"die"`` (with the process), ``"hang"``.
        bad_resets: chance that a reset raises.
        salt: makes other faults of the same seeds.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        chance: float = 0.0,
        kinds: tuple[str, ...] = RAISES,
        bad_resets: float = 0.0,
        salt: int = 0,
    ) -> None:
        super().__init__(env)
        self.chance, self.kinds, self.bad_resets, self.salt = chance, tuple(kinds), bad_resets, salt
        self._faults = np.random.default_rng(salt)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._faults = np.random.default_rng((self.salt, seed))
        if self._faults.random() < self.bad_resets:
            raise Simulation("no reset today")
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self._faults.random() >= self.chance:
            return self.env.step(action)
        kind = self.kinds[self._faults.integers(len(self.kinds))]
        if kind == "raise":
            raise Simulation("the pole broke")
        if kind == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hang":
            time.sleep(3600)
        observation, reward, terminated, truncated, info = self.env.step(action)
        if kind == "nan":
            observation = np.full_like(observation, np.nan)
        elif kind == "nan_reward":
            reward = float("nan")
        elif kind == "shape":
            observation = np.zeros(7, np.float32)
        return observation, reward, terminated, truncated, info


class Faulty(Unreliable):
    """CartPole-v1 with faults."""

    def __init__(self, **faults: Any) -> None:
        super().__init__(gym.make("CartPole-v1"), **faults)


def unreliable(env_class: type[gym.Env[Any, Any]], chance: float = 0.02) -> Any:
    """A function that makes envs of a class, which fail now and then."""
    return lambda: Unreliable(env_class(), chance)


class FaultyPair(MultiAgentEnv):
    """Two agents, each with a CartPole of its own; a fault of one is a fault of the env."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.possible_agents = ["a", "b"]
        self.poles = {agent: Faulty(**{"salt": k, **(config or {})}) for k, agent in enumerate(self.possible_agents)}
        self._there: list[str] = []

    def get_observation_space(self, agent_id: Any) -> Any:
        return self.poles["a"].observation_space

    def get_action_space(self, agent_id: Any) -> Any:
        return self.poles["a"].action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self._there = list(self.possible_agents)
        return {agent: pole.reset(seed=seed)[0] for agent, pole in self.poles.items()}, {}

    def step(self, action_dict: Any) -> Any:
        parts: tuple[dict[str, Any], ...] = ({}, {}, {}, {}, {})
        for agent, action in action_dict.items():
            for part, value in zip(parts, self.poles[agent].step(action), strict=True):
                part[agent] = value
        self._there = [agent for agent in self._there if not (parts[2].get(agent) or parts[3].get(agent))]
        parts[2]["__all__"], parts[3]["__all__"] = not self._there, False
        return parts
