"""RLlib's dict style: a base class to write such envs with, and how they are stepped."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.envs.multi_agent.adapted import ALL, AdaptedEnv, space_of
from rlkit_core.envs.multi_agent.protocol import AgentID, AgentStep

_NOBODY: Mapping[AgentID, Any] = {}

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

    metadata: Mapping[str, Any] = {}

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


class DictAgentEnv(AdaptedEnv):
    """A dict-style env as an :class:`~rlkit_core.envs.multi_agent.protocol.AgentEnv`."""

    def reset(self, seed: int | None) -> tuple[Mapping[AgentID, Any], Mapping[AgentID, Any]]:
        """Begin an episode.

        Raises:
            EnvError: the env raised, or returned something else than two dicts.
        """
        result = self._begin(seed)
        if not isinstance(result, tuple) or len(result) != 2:
            raise self.error(
                f"reset() should return (observations, infos), two dicts by agent, and gave {_seen(result)}"
            )
        observations = self._checked_dict(result[0], "observations")
        infos = self._checked_dict(result[1], "infos")
        self._welcome(observations)
        self._check_living(observations)
        return observations, infos

    def step(self, actions: Mapping[AgentID, Any]) -> AgentStep:
        """Take the actions; see :meth:`~rlkit_core.envs.multi_agent.protocol.AgentEnv.step`.

        Raises:
            EnvError: the env raised, or what it returned is not five dicts of the right things.
        """
        self.steps += 1
        result = self._call("step()", lambda: self.env.step(actions))
        if not isinstance(result, tuple) or len(result) != 5:
            raise self.error(
                "step() should return (observations, rewards, terminateds, truncateds, infos), five dicts by agent, "
                f"and gave {_seen(result)}"
            )
        observations = self._checked_dict(result[0], "observations")
        rewards = self._checked_dict(result[1], "rewards")
        terminateds = self._checked_dict(result[2], "terminateds")
        truncateds = self._checked_dict(result[3], "truncateds")
        infos = self._checked_dict(result[4], "infos")
        self._check_rewards(rewards)
        self._check_flags(terminateds, "terminateds")
        self._check_flags(truncateds, "truncateds")
        if True in terminateds.values() or True in truncateds.values():
            return self._with_ends(observations, rewards, terminateds, truncateds, infos)
        self._welcome(observations)
        self._check_known(rewards, "rewards")
        self._check_known(terminateds, "terminateds")
        self._check_known(truncateds, "truncateds")
        self._check_living(observations)
        return observations, rewards, _NOBODY, _NOBODY, infos, False

    def _with_ends(
        self,
        observations: dict[AgentID, Any],
        rewards: dict[AgentID, Any],
        terminateds: dict[AgentID, Any],
        truncateds: dict[AgentID, Any],
        infos: dict[AgentID, Any],
    ) -> AgentStep:
        """What a step returns at which someone ends."""
        over = bool(terminateds.get(ALL, False) or truncateds.get(ALL, False))
        was_there = set(self.present)
        # Many envs go on sending the flags, and even observations, of agents that have ended before.
        gone = {
            agent
            for agent in terminateds.keys() | truncateds.keys()
            if agent != ALL
            and agent not in was_there
            and (terminateds.get(agent, False) or truncateds.get(agent, False))
        }
        if gone:
            self._check_known(dict.fromkeys(gone), "flags of agents that end")
            observations = {agent: row for agent, row in observations.items() if agent not in gone}
            rewards = {agent: reward for agent, reward in rewards.items() if agent not in gone or reward}
        self._welcome(observations)
        self._check_known(rewards, "rewards")
        self._check_known(terminateds, "terminateds")
        self._check_known(truncateds, "truncateds")
        ended_well = {agent: True for agent in self.present if terminateds.get(agent, False)}
        cut_off = {agent: True for agent in self.present if truncateds.get(agent, False)}
        if over:
            rest = self.present - ended_well.keys() - cut_off.keys()
            (ended_well if terminateds.get(ALL, False) else cut_off).update(dict.fromkeys(rest, True))
        self.present -= ended_well.keys() | cut_off.keys()
        if ALL not in terminateds and ALL not in truncateds:
            over = not self.present
        self._check_living({agent: row for agent, row in observations.items() if agent in self.present})
        return observations, rewards, ended_well, cut_off, infos, over

    def _check_living(self, observations: Mapping[AgentID, Any]) -> None:
        """Whether all who must act have an observation; in this style nobody must."""

    def _find_agents(self) -> tuple[AgentID, ...]:
        agents = tuple(getattr(self.env, "possible_agents", None) or ())
        spaces = getattr(self.env, "observation_spaces", None)
        return agents or (tuple(spaces) if isinstance(spaces, Mapping) else ())

    def _find_space(self, agent: AgentID, of: str) -> object:
        own = getattr(self.env, f"get_{of}_space", None)
        return own(agent) if callable(own) else space_of(self.env, agent, of)


def _seen(result: object) -> str:
    if isinstance(result, tuple):
        return f"a tuple of {len(result)}"
    return f"a {type(result).__name__}: {reprlib.repr(result)}"
