"""What the adapters of all kinds of multi-agent envs share: names, spaces, the global state, and how they complain."""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Callable, Hashable, Mapping
from numbers import Real
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.envs.faults.own_type import told
from rlkit_core.envs.multi_agent.dict_env import ALL
from rlkit_core.envs.multi_agent.protocol import AgentID
from rlkit_core.errors import EnvError, did_you_mean

_BOOLS = frozenset({bool, np.bool_})
_NUMBERS = frozenset({float, int, np.float64, np.float32, np.int64})
_MANY_AGENTS = 10_000

Spaces = tuple[gym.Space[Any], gym.Space[Any]]


class AdaptedEnv:
    """A multi-agent env behind the names of :class:`~rlkit_core.envs.multi_agent.protocol.AgentEnv`.

    Subclasses add ``reset`` and ``step``, and say where spaces are found.

    Args:
        env: the env as its author wrote it.
        name: what messages call it; None: what it calls itself.

    Attributes:
        env: the env itself.
        name: what messages call it.
        possible_agents: as the protocol has it.
        steps: how many steps the open episode has had.
        present: agents that have turned up in the open episode and have not ended, in that order, as keys.
    """

    def __init__(self, env: object, name: str | None = None) -> None:
        self.env: Any = env
        self.name = name or _own_name(env)
        self.possible_agents: tuple[AgentID, ...] = self._find_agents()
        self.steps = 0
        self.present: dict[AgentID, None] = {}
        self._in_order: list[AgentID] = []  # those present: comparing lists takes a tenth of comparing sets of keys
        self._spaces: dict[AgentID, Spaces] = {}

    def observation_space(self, agent: AgentID) -> gym.Space[Any]:
        """The space of an agent's observations.

        Raises:
            EnvError: the env knows no such agent, or what it gives is no gymnasium space.
        """
        return self.spaces(agent)[0]

    def action_space(self, agent: AgentID) -> gym.Space[Any]:
        """The space of an agent's actions; raises as :meth:`observation_space` does."""
        return self.spaces(agent)[1]

    def spaces(self, agent: AgentID) -> Spaces:
        """Both spaces of an agent, asked for once."""
        known = self._spaces.get(agent)
        if known is None:
            known = (self._checked_space(agent, "observation"), self._checked_space(agent, "action"))
            self._spaces[agent] = known
        return known

    def state(self) -> Any:
        """The global state.

        Raises:
            EnvError: the env has none, or raised.
        """
        state = getattr(self.env, "state", None)
        if not callable(state):
            raise self.error("it has no global state: a module asked for one, and the env has no method state()")
        try:
            return state()
        except NotImplementedError as error:
            raise self.error(f"it has no global state: a module asked for one, and state() says {error}") from error
        except Exception as error:
            raise told(str(self.error(f"state() raised {type(error).__name__}: {error}")), error) from error

    def state_space(self) -> gym.Space[Any] | None:
        """The space of :meth:`state`, where the env has an attribute ``state_space``."""
        space = getattr(self.env, "state_space", None)
        space = space() if callable(space) and not isinstance(space, gym.Space) else space
        return space if isinstance(space, gym.Space) else None

    def close(self) -> None:
        """Close the env, where it can be closed."""
        close = getattr(self.env, "close", None)
        if callable(close):
            close()

    def error(self, what: str, agent: AgentID = ALL) -> EnvError:
        """An error that says where it happened: which env, which step of the episode, which agent."""
        who = "" if agent == ALL else f", agent {agent!r}"
        when = f"step {self.steps}" if self.steps else "reset"
        return EnvError(f"env {self.name}, {when}{who}: {what}")

    def _find_agents(self) -> tuple[AgentID, ...]:
        """Agents that the env names before there is an episode."""
        return tuple(getattr(self.env, "possible_agents", None) or ())

    def _find_space(self, agent: AgentID, of: str) -> object:
        """What the env has as the ``of`` ("observation", "action") space of an agent; a LookupError if it has none."""
        raise NotImplementedError

    def _checked_space(self, agent: AgentID, of: str) -> gym.Space[Any]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PettingZoo's base class looks into its dicts, and says so each time
                space = self._find_space(agent, of)
        except Exception as error:
            known = [str(other) for other in self.possible_agents]
            hint = did_you_mean(str(agent), known) or (f" Its agents are {known[:20]}." if known else "")
            raise self.error(f"the env knows no {of} space of such an agent.{hint}", agent) from error
        if not isinstance(space, gym.Space):
            seen = "none" if space is None else f"a {type(space).__module__}.{type(space).__name__}"
            raise self.error(f"its {of} space should be a gymnasium space, and there is {seen}", agent)
        return space

    def _begin(self, seed: int | None) -> Any:
        """Reset the env itself; what it returned."""
        self.steps = 0
        self.present, self._in_order = {}, []
        if len(self._spaces) > _MANY_AGENTS:
            self._spaces = {}  # ids that are never used again must not pile up
        return self._call("reset()", lambda: self.env.reset(seed=seed))

    def _call(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except EnvError:
            raise
        except Exception as error:
            raise told(str(self.error(f"{what} raised {type(error).__name__}: {error}")), error) from error

    def _welcome(self, agents: Mapping[AgentID, object]) -> None:
        """Let the agents in that have an observation and were not there yet: each must have spaces."""
        if list(agents) == self._in_order or agents.keys() <= self.present.keys():
            return
        for agent in agents:  # not a set's order, which differs from process to process
            if agent not in self.present:
                self.spaces(agent)
                self.present[agent] = None
        self._in_order = list(self.present)

    def _say_goodbye(self, *flags: Mapping[AgentID, object]) -> None:
        """Let those out that have a flag."""
        for ended in flags:
            for agent in ended:
                self.present.pop(agent, None)
        self._in_order = list(self.present)

    def _checked_dict(self, value: object, what: str) -> dict[AgentID, Any]:
        if type(value) is dict:
            return value
        if isinstance(value, Mapping):
            return dict(value)
        raise self.error(f"{what} should be a dict by agent, and is a {type(value).__name__}: {reprlib.repr(value)}")

    def _check_flags(self, flags: Mapping[AgentID, object], what: str) -> None:
        if set(map(type, flags.values())) <= _BOOLS:
            return
        for agent, flag in flags.items():
            if type(flag) not in _BOOLS:
                seen = f"{reprlib.repr(flag)}, a {type(flag).__name__}"
                raise self.error(f"{what} should be True or False, and is {seen}", agent)

    def _check_rewards(self, rewards: Mapping[AgentID, object]) -> None:
        if set(map(type, rewards.values())) <= _NUMBERS:
            return
        for agent, reward in rewards.items():
            scalar = isinstance(reward, (np.ndarray, np.generic)) and reward.ndim == 0 and reward.dtype.kind in "fiub"
            if not scalar and not isinstance(reward, Real):
                seen = f"{reprlib.repr(reward)}, a {type(reward).__name__}"
                raise self.error(f"its reward should be a number, and is {seen}", agent)

    def _check_known(self, agents: Mapping[AgentID, object], what: str) -> None:
        """A misspelt agent would silently never end, or lose its rewards."""
        named = list(agents)
        if ALL in agents:
            named.remove(ALL)
        if named == self._in_order:
            return
        for agent in named:
            if agent in self.present:
                continue
            try:
                self.spaces(agent)
            except EnvError as error:
                raise EnvError(f"{error} It is among the {what}.") from error


def _own_name(env: object) -> str:
    metadata = getattr(env, "metadata", None)
    named: Hashable = metadata.get("name") if isinstance(metadata, Mapping) else None
    return named if isinstance(named, str) and named else type(env).__name__
