"""What is told of the episodes of a sample, as they begin and end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rlkit_core.envs.agent_stats import StepCounts
from rlkit_core.envs.events import NO_EPISODES, EpisodeArrays, EpisodeReport, info_arrays, metrics_in
from rlkit_core.rl_module.agent_mapping import AgentID


class _Row(NamedTuple):
    env: int
    agent: AgentID
    module: str
    return_: float
    length: int


class EpisodeLog:
    """Collects what a runner tells of episodes along with a sample.

    Args:
        worker_index: the runner.
        info_metrics: names of numbers in an agent's last ``info`` that are told.
        max_steps: an episode that took more counts as given up; of a log that a single env tells.

    Attributes:
        returns, lengths: of the envs' episodes that ended: sums over agents, and env steps.
        steps: own steps of agents.
        cut: how many episodes were given up instead.
        cut_steps: env steps that were taken in those.
        failed: how many of those because the env failed.
        turns: which of the episodes of a single env those are that ended, from 0.
    """

    def __init__(self, worker_index: int, info_metrics: Sequence[str], max_steps: int | None = None) -> None:
        self._worker_index, self._metrics, self._max_steps = worker_index, tuple(info_metrics), max_steps
        self.returns: list[float] = []
        self.lengths: list[int] = []
        self.steps = StepCounts()
        self.cut = self.cut_steps = self.failed = 0
        self.turns: list[int] = []
        self._whole = 0  # agents' ends that belong to whole episodes
        self._ended: list[_Row] = []
        self._infos: list[Mapping[str, float]] = []
        self._began: list[_Row] = []

    def agent_began(self, env: int, agent: AgentID, module: str) -> None:
        """An agent has turned up."""
        self._began.append(_Row(env, agent, module, 0.0, 0))

    def agent_ended(
        self, env: int, agent: AgentID, module: str, return_: float, length: int, info: object, where: str
    ) -> None:
        """An agent has ended.

        Args:
            env, agent, module: who it was.
            return_, length: of all its own steps.
            info: its last one.
            where: what messages call the env.

        Raises:
            EnvError: a metric in ``info`` is no number.
        """
        self._ended.append(_Row(env, agent, module, return_, length))
        if self._metrics:
            self._infos.append(metrics_in(info, self._metrics, where))

    def over(self, return_: float, length: int) -> None:
        """The episode of an env has ended for all."""
        if self._max_steps is not None and length > self._max_steps:
            self.given_up(length)
            return
        self.turns.append(len(self.returns) + self.cut)
        self.returns.append(return_)
        self.lengths.append(length)
        self._whole = len(self._ended)

    def given_up(self, length: int, *, failed: bool = False) -> None:
        """An episode has been cut after so many steps, perhaps by a failure; agents that ended in it are forgotten."""
        self.cut += 1
        self.failed += failed
        self.cut_steps += length
        del self._ended[self._whole :]
        del self._infos[self._whole :]

    def report(self) -> EpisodeReport:
        """All that is told."""
        return EpisodeReport(
            self._worker_index,
            list(self.returns),
            list(self.lengths),
            self._arrays(self._ended, self._infos),
            self._arrays(self._began, ()),
        )

    def _arrays(self, rows: Sequence[_Row], infos: Sequence[Mapping[str, float]]) -> EpisodeArrays:
        if not rows:
            return NO_EPISODES
        env, agent, module, return_, length = zip(*rows, strict=True)
        return EpisodeArrays(
            env=np.array(env, np.int64),
            agent=_objects(agent),
            module=_objects(module),
            return_=np.array(return_, np.float64),
            length=np.array(length, np.int64),
            worker_index=np.full(len(rows), self._worker_index, np.int64),
            info=info_arrays(infos),
        )


def _objects(values: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.object_]]:
    array = np.empty(len(values), object)  # not np.array(values), which would take tuples apart
    for index, value in enumerate(values):
        array[index] = value
    return array
