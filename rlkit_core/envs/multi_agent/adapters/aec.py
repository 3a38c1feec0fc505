"""PettingZoo's AEC envs: one agent acts after the other, each in its turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlkit_core.envs.multi_agent.adapters.adapted import AdaptedEnv
from rlkit_core.envs.multi_agent.protocol import AgentID, AgentStep


class AECAgentEnv(AdaptedEnv):
    """An ``AECEnv`` as an :class:`~rlkit_core.envs.multi_agent.protocol.AgentEnv`: one agent acts at a time.

    What a step returns is the observation of the agent whose turn is next, and the rewards that the step has given to
    those who have had a turn (0 is left out). An agent that has ended is stepped with None here, as soon as its turn
    comes; its last observation and its flags are of that moment.
    """

    def reset(self, seed: int | None) -> tuple[Mapping[AgentID, Any], Mapping[AgentID, Any]]:
        """Begin an episode with the first agent's turn.

        Raises:
            EnvError: the env raised, or nobody has a turn.
        """
        self._begin(seed)
        observations, _, terminateds, truncateds, infos, over = self._until_a_turn({})
        if over or terminateds or truncateds:
            raise self.error("an episode should begin with the turn of a living agent, and there is none")
        return observations, infos

    def step(self, actions: Mapping[AgentID, Any]) -> AgentStep:
        """Take the action of the agent whose turn it is; see the protocol.

        Raises:
            EnvError: the action is another agent's, the env raised, or what it says of its agents is wrong.
        """
        turn = self.env.agent_selection
        self.steps += 1
        if len(actions) != 1 or turn not in actions:
            raise self.error(f"it is the turn of {turn!r}, and there are actions of {list(actions)}")
        self._call("step()", lambda: self.env.step(actions[turn]))
        rewards = self._checked_dict(self.env.rewards, "env.rewards")
        self._check_rewards(rewards)
        self._check_known(rewards, "env.rewards")
        # Who has had no turn yet has done nothing that a reward could be for: the opponent of one who gives up at once.
        earned = {agent: reward for agent, reward in rewards.items() if reward and agent in self.present}
        return self._until_a_turn(earned)

    def _until_a_turn(self, rewards: Mapping[AgentID, Any]) -> AgentStep:
        """Let those that have ended leave, until it is the turn of one that has not, or nobody is left."""
        env = self.env
        observations: dict[AgentID, Any] = {}
        infos: dict[AgentID, Any] = {}
        terminateds: dict[AgentID, bool] = {}
        truncateds: dict[AgentID, bool] = {}
        while env.agents:
            agent = env.agent_selection
            if agent in observations:
                raise self.error("it has ended and was stepped with None, but its turn has come again", agent)
            observations[agent], _, terminated, truncated, infos[agent] = self._call("last()", env.last)
            self._check_flags({agent: terminated}, "env.terminations")
            self._check_flags({agent: truncated}, "env.truncations")
            if not terminated and not truncated:
                break
            self._note_end(agent, terminated, truncated, terminateds, truncateds)
            self._call(f"step(None), which lets {agent!r} leave,", lambda: env.step(None))
        self._welcome(observations)
        for agent in [one for one in self.present if one not in env.agents and one not in observations]:
            # It was taken out of env.agents without a last turn.
            terminated, truncated = env.terminations.get(agent, False), env.truncations.get(agent, False)
            if not terminated and not truncated:
                raise self.error("it has left env.agents, and neither env.terminations nor truncations says why", agent)
            self._note_end(agent, terminated, truncated, terminateds, truncateds)
        self._say_goodbye(terminateds, truncateds)
        return observations, rewards, terminateds, truncateds, infos, not env.agents

    @staticmethod
    def _note_end(
        agent: AgentID,
        terminated: bool,
        truncated: bool,
        terminateds: dict[AgentID, bool],
        truncateds: dict[AgentID, bool],
    ) -> None:
        if terminated:
            terminateds[agent] = True
        if truncated:
            truncateds[agent] = True

    def _find_space(self, agent: AgentID, of: str) -> object:
        return getattr(self.env, f"{of}_space")(agent)
