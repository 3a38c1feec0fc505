"""What is kept of the open episode of an env with several agents, and how the env is brought back into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.data.nested import Nested, leaves, storage
from rlkit_core.envs.multi_agent.blocks import Array
from rlkit_core.envs.multi_agent.protocol import AgentEnv, AgentID
from rlkit_core.envs.resume.replay import NOT_DETERMINISTIC, UnlikeError
from rlkit_core.envs.vector import action_splitter, own_actions, row_writer
from rlkit_core.spaces import map_space

Actions = Mapping[AgentID, Any]
Played = tuple[str, gym.Space[Any]]
"""The module that an agent is mapped to, and its action space."""


def is_plain(agent: AgentID) -> bool:
    """Whether a checkpoint can hold an agent's id."""
    return isinstance(agent, (str, int, np.integer)) or (isinstance(agent, tuple) and all(map(is_plain, agent)))


class EpisodeRecord:
    """What an env was given since its last reset, and the sum of the rewards that came of it.

    Args:
        limit: steps of an episode that are kept at most; None: nothing is.

    Attributes:
        sent: the actions of each step.
        totals: the sum of its rewards.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._whole = limit is not None
        self.sent: list[Actions] = []
        self.totals: list[float] = []

    def begin(self) -> None:
        """The env was reset."""
        self.sent, self.totals = [], []
        self._whole = self._limit is not None

    def trim(self) -> None:
        """Forget what will not be needed; to be called now and then."""
        if not self._whole or len(self.sent) > (self._limit or 0):
            self.sent, self.totals = [], []
            self._whole = False

    @property
    def problem(self) -> str | None:
        """Why the episode is not all here; None where it is."""
        self.trim()
        if self._whole:
            return None
        if self._limit is None:
            return "environment(replay=False)"
        return f"its open episode has more steps than replay_limit={self._limit}"

    def get_state(self, agents: Mapping[AgentID, Played]) -> dict[str, Any]:
        """The record as few arrays.

        Args:
            agents: all agents that were given actions, in an order that is kept.
        """
        number = {agent: k for k, agent in enumerate(agents)}
        by_module: dict[str, tuple[gym.Space[Any], list[Any]]] = {}
        for actions in self.sent:
            for agent, action in actions.items():
                module_id, space = agents[agent]
                by_module.setdefault(module_id, (space, []))[1].append(action)
        who = [number[agent] for actions in self.sent for agent in actions]
        return {
            "who": np.array(who, np.int32),
            "counts": np.array([len(actions) for actions in self.sent], np.int32),
            "totals": np.array(self.totals, np.float64),
            "actions": {mid: list(leaves(_stacked(space, given))) for mid, (space, given) in by_module.items()},
        }

    def set_state(self, state: Mapping[str, Any], agents: Mapping[AgentID, Played]) -> None:
        """Take over :meth:`get_state`."""
        names = list(agents)
        given: dict[str, Iterator[Any]] = {}
        for module_id, space in {played[0]: played[1] for played in agents.values()}.items():
            if module_id in state["actions"]:
                columns = iter(state["actions"][module_id])
                stacked = map_space(lambda _: np.asarray(next(columns)), space)  # noqa: B023
                given[module_id] = iter(action_splitter(space)(stacked))
        who = iter(np.asarray(state["who"]).tolist())
        self.begin()
        for count in np.asarray(state["counts"]).tolist():
            acting = [names[next(who)] for _ in range(count)]
            self.sent.append({agent: next(given[agents[agent][0]]) for agent in acting})
        self.totals = np.asarray(state["totals"]).tolist()

    def replay(self, env: AgentEnv, seed: int) -> dict[AgentID, Any]:
        """Bring an env to where it was.

        Returns:
            Observations of the agents that are to act.

        Raises:
            UnlikeError: it went another way, or raised.
        """
        count = len(self.sent)
        try:
            acting = dict(env.reset(seed)[0])
            for step, (actions, total) in enumerate(zip(self.sent, self.totals, strict=True), 1):
                observations, rewards, terminateds, truncateds, _, over = env.step(own_actions(actions))
                if over:
                    raise UnlikeError(f"{NOT_DETERMINISTIC}: its episode ended after {step} of {count} steps")
                if sum_of(rewards) != total:
                    raise UnlikeError(f"{NOT_DETERMINISTIC}: other rewards at step {step} of {count}")
                ended = {agent for flags in (terminateds, truncateds) for agent, flag in flags.items() if flag}
                acting = {agent: seen for agent, seen in observations.items() if agent not in ended}
        except UnlikeError:
            raise
        except Exception as error:
            raise UnlikeError(f"it raised {type(error).__name__} while it was replayed: {error}") from error
        return acting


def sum_of(rewards: Mapping[AgentID, Any]) -> float:
    """The sum of a step's rewards."""
    return float(sum(rewards.values()))


def is_as_it_was(space: gym.Space[Any], observation: object, rows: Nested, place: int) -> bool:
    """Whether an observation is, to the last bit, what ``rows`` have at a place."""
    one = storage(space, (1,))
    row_writer(space)(one, 0, observation)
    return all(_bits(new[0]) == _bits(old[place]) for new, old in zip(leaves(one), leaves(rows), strict=True))


def _bits(value: Array) -> bytes:
    return np.ascontiguousarray(value).tobytes()


def _stacked(space: gym.Space[Any], values: Sequence[Any]) -> Nested:
    stack: Callable[..., Array] = lambda _, *parts: np.stack(parts)  # noqa: E731
    return map_space(stack, space, *values)
