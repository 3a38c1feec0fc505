"""Action masks that an env keeps in its infos, moved into observations, where modules look for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.columns import Columns
from rlkit_core.envs.multi_agent.adapters.aec import AECAgentEnv
from rlkit_core.envs.multi_agent.protocol import AgentEnv, AgentID, AgentStep

_MASK = Columns.ACTION_MASK


class MasksInObservations:
    """An env whose agents with discrete actions get ``{"observation": ..., "action_mask": ...}``.

    The mask is ``infos[agent]["action_mask"]`` (``[n]``, 1 where an action is legal); where there is none, as after an
    agent's end, all actions are legal. Agents whose observation has a mask already, or whose actions are not
    Discrete, are left alone.

    Args:
        inner: the env whose infos hold the masks.
    """

    def __init__(self, inner: AgentEnv) -> None:
        self._inner = inner
        self.env: object = getattr(inner, "env", inner)
        self.possible_agents = inner.possible_agents
        self.name = inner.name
        self._spaces: dict[AgentID, gym.Space[Any]] = {}

    def observation_space(self, agent: AgentID) -> gym.Space[Any]:
        """The agent's space, with an ``action_mask`` at its root."""
        space = self._spaces.get(agent)
        if space is None:
            space = self._spaces[agent] = self._with_mask(agent)
        return space

    def action_space(self, agent: AgentID) -> gym.Space[Any]:
        """The agent's space, as it is."""
        return self._inner.action_space(agent)

    def reset(self, seed: int | None) -> tuple[Mapping[AgentID, Any], Mapping[AgentID, Any]]:
        """Begin an episode."""
        observations, infos = self._inner.reset(seed)
        return self._masked(observations, infos), infos

    def step(self, actions: Mapping[AgentID, Any]) -> AgentStep:
        """Take the actions."""
        observations, rewards, terminateds, truncateds, infos, over = self._inner.step(actions)
        return self._masked(observations, infos), rewards, terminateds, truncateds, infos, over

    def state(self) -> Any:
        """The global state, as it is."""
        return self._inner.state()

    def state_space(self) -> gym.Space[Any] | None:
        """Its space."""
        return self._inner.state_space()

    def close(self) -> None:
        """Close the env."""
        self._inner.close()

    def _with_mask(self, agent: AgentID) -> gym.Space[Any]:
        space, actions = self._inner.observation_space(agent), self._inner.action_space(agent)
        if not isinstance(actions, gym.spaces.Discrete) or _has_mask(space):
            return space
        mask = gym.spaces.Box(0, 1, (int(actions.n),), np.int8)
        parts = dict(space.spaces) if isinstance(space, gym.spaces.Dict) else {"observation": space}
        return gym.spaces.Dict({**parts, _MASK: mask})

    def _masked(self, observations: Mapping[AgentID, Any], infos: Mapping[AgentID, Any]) -> dict[AgentID, Any]:
        masked = {}
        for agent, observation in observations.items():
            space, given = self.observation_space(agent), self._inner.observation_space(agent)
            if space is not given:
                mask = (infos.get(agent) or {}).get(_MASK)
                shape = space[_MASK].shape  # type: ignore[index]  # it is the Dict made above
                legal = np.ones(shape, np.int8) if mask is None else np.asarray(mask, np.int8)
                parts = observation if isinstance(given, gym.spaces.Dict) else {"observation": observation}
                observation = {**parts, _MASK: legal}
            masked[agent] = observation
        return masked


def masks_are_in_infos(adapted: AECAgentEnv) -> bool:
    """Whether an AEC env gives masks that its observations lack; found out by beginning an episode."""
    adapted.reset(None)
    infos: Mapping[AgentID, Any] = adapted.env.infos
    return any(_MASK in (info or {}) and not _has_mask(adapted.observation_space(a)) for a, info in infos.items())


def _has_mask(space: gym.Space[Any]) -> bool:
    return isinstance(space, gym.spaces.Dict) and _MASK in space.spaces
