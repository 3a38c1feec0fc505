"""PettingZoo's ``ParallelEnv``: every living agent acts at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlkit_core.envs.multi_agent.dict_env import DictAgentEnv
from rlkit_core.envs.multi_agent.protocol import AgentID


class ParallelAgentEnv(DictAgentEnv):
    """A ``ParallelEnv`` as an :class:`~rlkit_core.envs.multi_agent.protocol.AgentEnv`.

    Who is in ``env.agents`` acts next. The episode is over when all agents have ended.
    """

    def _check_living(self, observations: Mapping[AgentID, Any]) -> None:
        """Every agent of ``env.agents`` has an observation, and none left it without a flag."""
        agents = self.env.agents
        if len(agents) == len(observations) and observations.keys() == set(agents):
            return
        must_act = set(agents) if self.steps == 0 else self.present.intersection(agents)
        for agent in sorted(must_act - observations.keys(), key=str):
            raise self.error("it is in env.agents, so it acts next, but there is no observation of it", agent)
        for agent in sorted(self.present.difference(agents), key=str):
            raise self.error(
                "it has left env.agents, and no flag says that it has ended: flag it as terminated or truncated",
                agent,
            )

    def _find_space(self, agent: AgentID, of: str) -> object:
        return getattr(self.env, f"{of}_space")(agent)
