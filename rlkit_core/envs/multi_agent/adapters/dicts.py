"""RLlib's dict style: whoever has an observation acts next."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from rlkit_core.envs.multi_agent.adapters.adapted import AdaptedEnv
from rlkit_core.envs.multi_agent.dict_env import ALL, space_of
from rlkit_core.envs.multi_agent.protocol import AgentID, AgentStep

_NOBODY: Mapping[AgentID, Any] = {}


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
        # Many envs go on sending the flags, and even observations, of agents that have ended before.
        gone = {
            agent
            for agent in terminateds.keys() | truncateds.keys()
            if agent != ALL
            and agent not in self.present
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
            rest = [agent for agent in self.present if agent not in ended_well and agent not in cut_off]
            (ended_well if terminateds.get(ALL, False) else cut_off).update(dict.fromkeys(rest, True))
        self._say_goodbye(ended_well, cut_off)
        if ALL not in terminateds and ALL not in truncateds:
            over = not self.present
        self._check_living({agent: row for agent, row in observations.items() if agent in self.present})
        return observations, rewards, ended_well, cut_off, infos, over

    def _check_living(self, observations: Mapping[AgentID, Any]) -> None:
        """Whether all who must act have an observation; in this style nobody must."""

    def _find_agents(self) -> tuple[AgentID, ...]:
        agents = super()._find_agents()
        spaces = None if agents else getattr(self.env, "observation_spaces", None)
        return tuple(spaces) if isinstance(spaces, Mapping) else agents

    def _find_space(self, agent: AgentID, of: str) -> object:
        own = getattr(self.env, f"get_{of}_space", None)
        return own(agent) if callable(own) else space_of(self.env, agent, of)


def _seen(result: object) -> str:
    if isinstance(result, tuple):
        return f"a tuple of {len(result)}"
    return f"a {type(result).__name__}: {reprlib.repr(result)}"
