"""PettingZoo's ``ParallelEnv``: every living agent acts at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlkit_core.envs.multi_agent.adapters.dicts import DictAgentEnv
from rlkit_core.envs.multi_agent.protocol import AgentID


class ParallelAgentEnv(DictAgentEnv):
    """A ``ParallelEnv`` as an :class:`~rlkit_core.envs.multi_agent.protocol.AgentEnv`.

    Who is in ``env.agents`` acts next. The episode is over when all agents have ended.
    """

    def _check_living(self, observations: Mapping[AgentID, Any]) -> None:
        """Every agent of ``env.agents`` has an observation, and none left it without a flag."""
        agents = self.env.agents
        if list(agents) == list(observations) == list(self.present):
            return
        for agent in agents:
            if agent in observations or (self.steps and agent not in self.present):
                continue  # it has ended in this step, but the env takes it out of its agents later
            raise self.error("it is in env.agents, so it acts next, but there is no observation of it", agent)
        for agent in self.present:
            if agent not in agents:
                raise self.error("it has left env.agents with no flag: who leaves is terminated or truncated", agent)

    def _find_space(self, agent: AgentID, of: str) -> object:
        return getattr(self.env, f"{of}_space")(agent)
