"""What every kind of multi-agent env becomes before it is stepped: one small protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium as gym

from rlkit_core.rl_module.agent_mapping import AgentEpisode, AgentID

__all__ = ["AgentEnv", "AgentEpisode", "AgentID", "AgentStep"]

AgentStep = tuple[
    Mapping[AgentID, Any],
    Mapping[AgentID, Any],
    Mapping[AgentID, Any],
    Mapping[AgentID, Any],
    Mapping[AgentID, Any],
    bool,
]
"""``(observations, rewards, terminateds, truncateds, infos, over)`` of one step, see :meth:`AgentEnv.step`."""


class AgentEnv(Protocol):
    """One env with agents that come and go.

    Attributes:
        possible_agents: agents that are known before there is an episode; others may turn up, if they have spaces.
        name: what messages call the env.
    """

    possible_agents: tuple[AgentID, ...]
    name: str

    def observation_space(self, agent: AgentID) -> gym.Space[Any]:
        """The space of an agent's observations.

        Raises:
            EnvError: the env knows no such agent.
        """
        ...

    def action_space(self, agent: AgentID) -> gym.Space[Any]:
        """The space of an agent's actions; raises as :meth:`observation_space` does."""
        ...

    def reset(self, seed: int | None) -> tuple[Mapping[AgentID, Any], Mapping[AgentID, Any]]:
        """Begin an episode: observations of the agents that are to act first, and infos."""
        ...

    def step(self, actions: Mapping[AgentID, Any]) -> AgentStep:
        """Take the actions of exactly those agents that were to act.

        Returns:
            ``observations`` of the agents that are to act next, and the last ones of agents that have ended (as far as
            the env gives them); ``rewards`` since the last step, of agents that acted earlier too; ``terminateds`` and
            ``truncateds`` of single agents (``"__all__"`` is spelt out: every agent that was there has a flag then);
            ``infos``; ``over``, whether the episode has ended for all, so that :meth:`reset` comes next.
        """
        ...

    def state(self) -> Any:
        """The global state, where the env has one.

        Raises:
            EnvError: it has none.
        """
        ...

    def state_space(self) -> gym.Space[Any] | None:
        """The space of :meth:`state`; None: there is none."""
        ...

    def close(self) -> None:
        """Free what the env holds."""
        ...
