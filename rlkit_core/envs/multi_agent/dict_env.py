"""RLlib's dict style: a base class to write multi-agent envs with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.envs.multi_agent.protocol import AgentID

ALL = "__all__"
"""The flag of every agent at once."""

Dicts = tuple[dict[AgentID, Any], dict[AgentID, Any], dict[AgentID, Any], dict[AgentID, Any], dict[AgentID, Any]]


class MultiAgentEnv:
    """Base class of envs whose agents come and go, with one dict entry per agent.

    Whoever has an observation acts next. An agent ends by a True among ``terminateds`` or ``truncateds`` (and may
    enter again later by a new observation), all of them by the flag ``"__all__"``; without that flag, an episode is
    over when all agents that are there have ended. A reward may be given at any step after an agent's first action;
    an absent one is 0.

    Attributes:
        possible_agents: agents that are known before there is an episode.
        observation_spaces: ``{agent: space}``; without it, ``observation_space`` is every agent's.
        action_spaces: the same for actions.
        metadata: ``{"name": ...}`` is what messages call the env, instead of its class's name.
    """

    metadata: Mapping[str, Any] = {"render_modes": []}

    possible_agents: Sequence[AgentID] = ()
    observation_spaces: Mapping[AgentID, gym.Space[Any]] | None = None
    action_spaces: Mapping[AgentID, gym.Space[Any]] | None = None
    observation_space: gym.Space[Any] | None = None
    action_space: gym.Space[Any] | None = None
    _np_random: np.random.Generator | None = None

    @property
    def np_random(self) -> np.random.Generator:
        """The env's own random numbers, seeded by :meth:`reset`."""
        if self._np_random is None:
            self._np_random = np.random.default_rng()
        return self._np_random

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[AgentID, Any], dict[AgentID, Any]]:
        """Begin an episode: ``(observations, infos)`` of the agents that act first.

        A subclass may call ``super().reset(seed=seed)``, which seeds ``self.np_random``.
        """
        if seed is not None:
            self._np_random = np.random.default_rng(seed)
        return {}, {}

    def step(self, action_dict: Mapping[AgentID, Any]) -> Dicts:
        """Take the actions of those that had an observation.

        Returns:
            ``(observations, rewards, terminateds, truncateds, infos)``, each a dict by agent.
        """
        raise NotImplementedError(f"{type(self).__name__} has no step()")

    def close(self) -> None:
        """Free what the env holds."""

    def get_observation_space(self, agent_id: AgentID) -> gym.Space[Any]:
        """The space of an agent's observations.

        Raises:
            LookupError: there is no such agent.
        """
        return space_of(self, agent_id, "observation")

    def get_action_space(self, agent_id: AgentID) -> gym.Space[Any]:
        """The space of an agent's actions; raises as :meth:`get_observation_space` does."""
        return space_of(self, agent_id, "action")


def space_of(env: object, agent: AgentID, of: str) -> gym.Space[Any]:
    """The ``of`` ("observation", "action") space of an agent, from the attributes of a dict-style env.

    That is ``{of}_spaces`` by agent, or ``{of}_space``: a Dict space with the agents as keys, or one that all share.

    Raises:
        LookupError: there is no such agent.
    """
    by_agent = getattr(env, f"{of}_spaces", None)
    if by_agent is not None:
        space: gym.Space[Any] = by_agent[agent]
        return space
    shared: gym.Space[Any] | None = getattr(env, f"{of}_space", None)
    agents = getattr(env, "possible_agents", None) or ()
    if isinstance(shared, gym.spaces.Dict) and agents and set(shared.spaces) == set(agents):
        return dict[AgentID, gym.Space[Any]](shared.spaces.items())[agent]
    if shared is None or (agents and agent not in agents):
        raise KeyError(agent)
    return shared
