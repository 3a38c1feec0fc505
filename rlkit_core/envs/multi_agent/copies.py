"""Several copies of a single-agent env, each played by an agent of its own, as one multi-agent env."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import gymnasium as gym

from rlkit_core.envs.make import make_env
from rlkit_core.envs.multi_agent.dict_env import ALL, Dicts, MultiAgentEnv
from rlkit_core.envs.multi_agent.protocol import AgentID
from rlkit_core.envs.naming.kinds import check_single
from rlkit_core.errors import EnvError
from rlkit_core.seeding import SeedTree

Creator = Callable[..., Any]


class CopiesEnv(MultiAgentEnv):
    """``num_agents`` copies of :attr:`copied`; an agent leaves when its copy's episode ends, the last one ends it all.

    Args:
        config: ``num_agents`` (1); the rest are settings of each copy.

    Raises:
        EnvError: ``num_agents`` is no positive number, or a copy cannot be made, has several agents or is a vector env.
    """

    copied: ClassVar[str | tuple[Creator]]  # a function lies in a tuple, so that it is no method

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        settings = dict(config or {})
        number = settings.pop("num_agents", 1)
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise EnvError(f"{type(self).__name__}: env_config['num_agents'] should be 1 or more, got {number!r}")
        copied = self.copied if isinstance(self.copied, str) else self.copied[0]
        self.envs: list[gym.Env[Any, Any]] = [make_env(copied, settings) for _ in range(number)]
        for env in self.envs:
            check_single(env, f"{type(self).__name__} copies")
        self.possible_agents = list(range(number))
        self.observation_spaces = {agent: env.observation_space for agent, env in enumerate(self.envs)}
        self.action_spaces = {agent: env.action_space for agent, env in enumerate(self.envs)}
        self._playing: set[AgentID] = set()
        self._left_by_truncation = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[AgentID, Any], dict[AgentID, Any]]:
        """Reset every copy, each with a seed of its own that follows from ``seed``."""
        super().reset(seed=seed)
        observations: dict[AgentID, Any] = {}
        infos: dict[AgentID, Any] = {}
        for agent, env in enumerate(self.envs):
            own_seed = None if seed is None else SeedTree(seed).child(agent).seed()
            observations[agent], infos[agent] = env.reset(seed=own_seed, options=options)
        self._playing = set(observations)
        self._left_by_truncation = 0
        return observations, infos

    def step(self, action_dict: Mapping[AgentID, Any]) -> Dicts:
        """Step the copies of the agents that act.

        Raises:
            EnvError: an action is of an agent that does not play.
        """
        observations: dict[AgentID, Any] = {}
        rewards: dict[AgentID, Any] = {}
        terminateds: dict[AgentID, Any] = {}
        truncateds: dict[AgentID, Any] = {}
        infos: dict[AgentID, Any] = {}
        for agent, action in action_dict.items():
            if agent not in self._playing or not isinstance(agent, int):
                raise EnvError(
                    f"{type(self).__name__}: got an action of agent {agent!r}, but agents {self._playing} play"
                )
            result = self.envs[agent].step(action)
            observations[agent], rewards[agent], terminateds[agent], truncateds[agent], infos[agent] = result
            if terminateds[agent] or truncateds[agent]:
                self._playing.remove(agent)
                self._left_by_truncation += not terminateds[agent]
        terminateds[ALL] = not self._playing
        truncateds[ALL] = self._left_by_truncation == len(self.envs)
        return observations, rewards, terminateds, truncateds, infos

    def close(self) -> None:
        """Close every copy."""
        for env in self.envs:
            env.close()


def make_multi_agent(env: str | Creator) -> type[MultiAgentEnv]:
    """A multi-agent env of which every agent plays its own copy of a single-agent one.

    The class takes ``env_config``: ``num_agents`` (1), and what the copies are made with. Agents are ``0`` to
    ``num_agents - 1``.

    Args:
        env: id, class or function, as for :func:`~rlkit_core.envs.make.make_env`.
    """
    name = env.rpartition("/")[2] if isinstance(env, str) else getattr(env, "__name__", "Env")
    body = {"copied": env if isinstance(env, str) else (env,), "__doc__": f"Copies of {name}, one for each agent."}
    return type(f"MultiAgent{name}", (CopiesEnv,), body)
