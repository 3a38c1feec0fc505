"""Statistics by agent and by module, of envs with several agents."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Mapping
from itertools import islice
from typing import Any

import numpy as np
from attrs import define, field

from rlkit_core.columns import DEFAULT_AGENT_ID
from rlkit_core.envs.events import EpisodeArrays

MOST_AGENTS = 1000
"""How many agents are told of at most; those that have been seen last."""
MOST_RETURNS = 10_000
"""Over how many episodes of one agent or module a mean is taken at most."""


@define(eq=False)
class StepCounts:
    """Steps that one sample took.

    Attributes:
        env: env steps that are experience, however many agents acted in them.
        agent: own steps of agents, by agent; empty where each env has one.
        module: the same by module.
        columns: how many columns the rollout of a module has: agents of it that were there at once, over all envs.
    """

    env: int = 0
    agent: dict[Hashable, int] = field(factory=dict)
    module: dict[str, int] = field(factory=dict)
    columns: dict[str, int] = field(factory=dict)

    def add(self, agent: Hashable, module_id: str, steps: int) -> None:
        """Count own steps of an agent."""
        if steps:
            self.agent[agent] = self.agent.get(agent, 0) + steps
            self.module[module_id] = self.module.get(module_id, 0) + steps

    def join(self, other: StepCounts) -> None:
        """Count the steps of another sample too."""
        self.env += other.env
        for agent, steps in other.agent.items():
            self.agent[agent] = self.agent.get(agent, 0) + steps
        for module_id, steps in other.module.items():
            self.module[module_id] = self.module.get(module_id, 0) + steps


@define(eq=False)
class _Record:
    """What is known of one agent or module.

    Attributes:
        returns: of its last episodes, each with how many episodes of envs had ended by then.
        new, lifetime: own steps, since the last result and in all.
        seen: how many episodes of envs had ended when it was heard of last.
        columns: of a module, the most that a rollout has had.
    """

    returns: deque[tuple[int, float]] = field(factory=lambda: deque(maxlen=MOST_RETURNS))
    new: int = 0
    lifetime: int = 0
    seen: int = 0
    columns: int = 0


class AgentStats:
    """Mean returns of agents' and modules' episodes, and counts of their own steps.

    What happened before the last ``window`` episodes of envs does not count, and an agent that has not been heard of
    since is forgotten.

    Args:
        window: how many of the last episodes of envs the means are taken over.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._agents: dict[str, _Record] = {}  # the one heard of last at the end
        self._modules: dict[str, _Record] = {}
        self._episodes = 0

    def take(self, ended: EpisodeArrays, episodes: int, steps: StepCounts | None) -> None:
        """Take in a sample.

        Args:
            ended: agents' episodes that ended; those of single-agent envs are passed over.
            episodes: how many episodes of envs have ended.
            steps: own steps, where they are counted.
        """
        self._episodes += episodes
        if steps is not None:
            for agent, count in steps.agent.items():
                record = self._hear_of(self._agents, str(agent))
                record.new += count
                record.lifetime += count
            for module_id, count in steps.module.items():
                record = self._hear_of(self._modules, module_id)
                record.new += count
                record.lifetime += count
                record.columns = max(record.columns, steps.columns.get(module_id, 0))
        for agent, module_id, return_ in zip(ended.agent, ended.module, ended.return_.tolist(), strict=True):
            if agent != DEFAULT_AGENT_ID:
                entry = (self._episodes, return_)
                self._hear_of(self._agents, str(agent)).returns.append(entry)
                self._hear_of(self._modules, module_id).returns.append(entry)
        if self._agents or self._modules:
            self._forget()

    def _hear_of(self, records: dict[str, _Record], name: str) -> _Record:
        record = records.pop(name, None) or _Record()
        record.seen = self._episodes
        records[name] = record
        return record

    def _forget(self) -> None:
        since = self._episodes - self._window
        while self._agents:
            name = next(iter(self._agents))
            if len(self._agents) <= MOST_AGENTS and self._agents[name].seen >= since:
                break
            del self._agents[name]
        for record in (*self._agents.values(), *self._modules.values()):
            while record.returns and record.returns[0][0] <= since:
                record.returns.popleft()

    def result(self) -> dict[str, Any]:
        """Result keys by agent and module; none where there are no agents. Starts the next interval."""
        if not self._agents and not self._modules:
            return {}
        out: dict[str, Any] = {}
        for of, records in (("agent", self._agents), ("module", self._modules)):
            if any(record.lifetime for record in records.values()):
                new = {name: record.new for name, record in _sorted(records) if record.new}
                out[f"num_{of}_steps_sampled"] = new
                out[f"num_{of}_steps_sampled_lifetime"] = {name: r.lifetime for name, r in _sorted(records)}
            out[f"{of}_episode_returns_mean"] = _means(records)
        if any(record.columns for record in self._modules.values()):
            out["num_module_columns"] = {name: r.columns for name, r in _sorted(self._modules)}
        for record in (*self._agents.values(), *self._modules.values()):
            record.new = 0
        return out

    def get_state(self) -> dict[str, Any]:
        """Windows and lifetime counts."""
        return {
            "episodes": self._episodes,
            "agents": _as_data(self._agents),
            "modules": _as_data(self._modules),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`get_state`."""
        self._episodes = int(state.get("episodes", 0))
        self._agents = self._from_data(state.get("agents"))
        self._modules = self._from_data(state.get("modules"))

    @staticmethod
    def _from_data(data: Mapping[str, Any] | None) -> dict[str, _Record]:
        records: dict[str, _Record] = {}
        if data is None:
            return records
        entries = zip(np.asarray(data["ages"]).tolist(), np.asarray(data["returns"]).tolist(), strict=True)
        for name, (count, *numbers) in zip(data["names"], np.asarray(data["numbers"]).tolist(), strict=True):
            records[name] = _Record(deque(islice(entries, count), MOST_RETURNS), 0, *numbers)
        return records


def _sorted(records: dict[str, _Record]) -> list[tuple[str, _Record]]:
    return sorted(records.items())


def _means(records: dict[str, _Record]) -> dict[str, float]:
    # Summed exactly, so that the mean does not depend on the order in which runners are asked.
    return {name: math.fsum(v for _, v in r.returns) / len(r.returns) for name, r in _sorted(records) if r.returns}


def _as_data(records: dict[str, _Record]) -> dict[str, Any]:
    """Names in a list, since an id may hold anything, and numbers in arrays."""
    return {
        "names": list(records),
        "numbers": np.array(
            [(len(r.returns), r.lifetime, r.seen, r.columns) for r in records.values()], np.int64
        ).reshape(-1, 4),
        "ages": np.array([age for r in records.values() for age, _ in r.returns], np.int64),
        "returns": np.array([value for r in records.values() for _, value in r.returns], np.float64),
    }
