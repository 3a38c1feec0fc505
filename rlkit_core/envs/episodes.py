"""Episode statistics, taken from whole arrays once per rollout."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit_core.envs.agent_stats import AgentStats, StepCounts
from rlkit_core.envs.events import EpisodeReport
from rlkit_core.envs.wrapping.counted import HeldEpisodes

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


_NO_RETURNS, _NO_LENGTHS = np.empty(0), np.empty(0, np.int64)
FEW = 8
"""Episodes that end in a rollout up to which it is quicker to look at one after the other."""


class EpisodeStats:
    """Returns and lengths of finished episodes, over a sliding window.

    Args:
        num_envs: N.
        window: how many of the last episodes the means are taken over.

    Attributes:
        held: where episodes are counted below wrappers for training, those that are not whole.
    """

    def __init__(self, num_envs: int, window: int = 100) -> None:
        self.held = HeldEpisodes(num_envs)
        self._open_return = np.zeros(num_envs, np.float64)
        self._open_length = np.zeros(num_envs, np.int64)
        self._returns: deque[float] = deque(maxlen=window)
        self._lengths: deque[int] = deque(maxlen=window)
        self._window = window
        self._info: dict[str, deque[float]] = {}
        self._agents = AgentStats(window)
        self._new = 0
        self.num_episodes_lifetime = 0
        self.num_env_steps_lifetime = 0
        self._steps = 0
        self._since = time.perf_counter()

    def add(
        self, rewards: Floats, dones: Bools, valid: Bools | None = None, lost: Bools | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Take in a rollout; see :meth:`count`."""
        returns, lengths = self.count(rewards, dones, valid, lost)
        self.record(returns.tolist(), lengths.tolist(), steps=0)
        return returns, lengths

    def count(
        self, rewards: Floats, dones: Bools, valid: Bools | None = None, lost: Bools | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Take in the steps of a rollout; what episodes have ended is returned, and not recorded.

        Args:
            rewards: ``[T, N]``.
            dones: ``[T, N]``, the step ended its episode.
            valid: ``[T, N]``, False for rows that are no experience; None when all are.
            lost: ``[T, N]``, the episode broke off, and is not counted; None when none did.

        Returns:
            Returns and lengths of the episodes that ended, each ``[number of them]``, in the order they ended.
        """
        if valid is None and (count := np.count_nonzero(dones)) <= FEW:  # as in most short rollouts
            return self._add_few(rewards, dones) if count else self._add_none(rewards)
        if valid is None and lost is None and rewards.shape[0] <= rewards.shape[1]:
            return self._add_rows(rewards, dones)
        lengths = np.ones_like(rewards, dtype=np.int64) if valid is None else valid.astype(np.int64)
        rewards = rewards if valid is None else np.where(valid, rewards, 0.0)
        return_sums = np.cumsum(rewards, axis=0, dtype=np.float64)
        length_sums = np.cumsum(lengths, axis=0)
        t, n = np.nonzero(dones if lost is None else dones | lost)
        order = np.lexsort((t, n))  # env by env, in time
        first = np.ones(len(order), np.bool_)
        first[1:] = n[order][1:] != n[order][:-1]
        ended_returns = _between(return_sums[t, n][order], first, self._open_return[n[order]])
        ended_lengths = _between(length_sums[t, n][order], first, self._open_length[n[order]])

        last_end = np.full(rewards.shape[1], -1)
        np.maximum.at(last_end, n, t)
        for sums, open_ in ((return_sums, self._open_return), (length_sums, self._open_length)):
            ended = last_end >= 0
            before = np.where(ended, sums[last_end, np.arange(len(last_end))], 0)
            open_[:] = np.where(ended, sums[-1] - before, open_ + sums[-1])

        back = np.argsort(order)
        ended_returns, ended_lengths = ended_returns[back], ended_lengths[back].astype(np.int64)
        if lost is not None:
            ended_returns, ended_lengths = ended_returns[dones[t, n]], ended_lengths[dones[t, n]]
        self._count_steps(int(lengths.sum()))
        return ended_returns, ended_lengths

    def _add_none(self, rewards: Floats) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The same where no episode ends."""
        self._open_return += np.add.reduce(rewards, 0, np.float64)
        self._open_length += rewards.shape[0]
        self._count_steps(rewards.size)
        return _NO_RETURNS, _NO_LENGTHS

    def _count_steps(self, steps: int) -> None:
        self._steps += steps
        self.num_env_steps_lifetime += steps

    def _add_few(self, rewards: Floats, dones: Bools) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The same, episode by episode."""
        returns: list[float] = []
        lengths: list[int] = []
        first: dict[int, int] = {}  # steps of an env that have been counted
        for t, n in zip(*(index.tolist() for index in dones.nonzero()), strict=True):
            start = first.get(n, 0)
            returns.append(float(self._open_return[n] + rewards[start : t + 1, n].sum(dtype=np.float64)))
            lengths.append(int(self._open_length[n]) + t + 1 - start)
            self._open_return[n] = self._open_length[n] = 0
            first[n] = t + 1
        self._add_none(rewards)
        for n, start in first.items():
            self._open_return[n] = rewards[start:, n].sum(dtype=np.float64)
            self._open_length[n] = rewards.shape[0] - start
        return np.array(returns), np.array(lengths, np.int64)

    def _add_rows(self, rewards: Floats, dones: Bools) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The same, step by step, which is quicker where there are more envs than steps."""
        returns: list[NDArray[np.float64]] = []
        lengths: list[NDArray[np.int64]] = []
        for row, ends in zip(rewards, dones, strict=True):
            self._open_return += row
            self._open_length += 1
            (ended,) = ends.nonzero()
            if len(ended):
                returns.append(self._open_return[ended])
                lengths.append(self._open_length[ended])
                self._open_return[ended] = self._open_length[ended] = 0
        self._count_steps(rewards.size)
        return np.concatenate(returns), np.concatenate(lengths)

    def record(self, returns: list[float], lengths: list[int], *, steps: int | None = None) -> None:
        """Take in finished episodes.

        Args:
            returns: of each episode.
            lengths: of each episode.
            steps: env steps that were taken; those of the episodes unless given.
        """
        self._returns.extend(returns)
        self._lengths.extend(lengths)
        self._new += len(returns)
        self.num_episodes_lifetime += len(returns)
        self._count_steps(sum(lengths) if steps is None else steps)

    def take(self, report: EpisodeReport, steps: StepCounts | None = None) -> None:
        """Take in what a runner tells of episodes that have ended.

        Args:
            report: what it tells.
            steps: those that were taken; the env steps of the episodes unless given.
        """
        if report.returns or steps is None:
            self.record(report.returns, report.lengths, steps=None if steps is None else steps.env)
        else:
            self._count_steps(steps.env)
        self._agents.take(report.ended, len(report.returns), steps)
        if report.ended.info:
            self.record_info(report.ended.info)

    def record_info(self, info: Mapping[str, NDArray[np.float64]]) -> None:
        """Take in metrics that finished episodes had in their last ``info``.

        Args:
            info: ``{metric: [E]}``, NaN where an episode had none.
        """
        for name, values in info.items():
            self._info_window(name).extend(values[~np.isnan(values)].tolist())

    def _info_window(self, name: str) -> deque[float]:
        if name not in self._info:
            self._info[name] = deque(maxlen=self._window)
        return self._info[name]

    def drop_open(self) -> None:
        """Forget episodes that have not ended (the envs are about to be reset)."""
        self._open_return[:] = 0
        self._open_length[:] = 0
        self.held.drop(slice(None))

    def get_open(self) -> dict[str, NDArray[Any]]:
        """Returns and lengths so far of the episodes that have not ended, each ``[N]``."""
        return {"returns": self._open_return.copy(), "lengths": self._open_length.copy(), **self.held.get_state()}

    def set_open(self, state: Mapping[str, NDArray[Any]], fresh: Bools) -> None:
        """Go on from :meth:`get_open`, but where ``fresh [N]`` is True."""
        self._open_return[:] = np.where(fresh, 0, state["returns"])
        self._open_length[:] = np.where(fresh, 0, state["lengths"])
        self.held.set_state(state, fresh)

    def result(self) -> dict[str, Any]:
        """Result keys of the env runners; NaN where no episode has ended yet. Starts the next interval."""
        returns, lengths = np.asarray(self._returns), np.asarray(self._lengths, np.float64)
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        out = {
            **_mean_min_max("episode_return", returns),
            **_mean_min_max("episode_len", lengths),
            **self._info_means(),
            "episode_duration_sec_mean": seconds / self._new if self._new else float("nan"),
            "num_episodes": self._new,
            "num_episodes_lifetime": self.num_episodes_lifetime,
            "num_env_steps_sampled": self._steps,
            "num_env_steps_sampled_lifetime": self.num_env_steps_lifetime,
            **self._agents.result(),
        }
        self._new = self._steps = 0
        return out

    def _info_means(self) -> dict[str, float]:
        # Summed exactly, so that the mean does not depend on the order in which runners are asked.
        return {f"{name}_mean": math.fsum(values) / len(values) for name, values in self._info.items() if values}

    def get_state(self) -> dict[str, Any]:
        """Windows and lifetime counts; of open episodes see :meth:`get_open`."""
        return {
            "returns": np.asarray(self._returns, np.float64),
            "lengths": np.asarray(self._lengths, np.int64),
            "info": {name: np.asarray(values, np.float64) for name, values in self._info.items()},
            "num_episodes_lifetime": self.num_episodes_lifetime,
            "num_env_steps_lifetime": self.num_env_steps_lifetime,
            "agents": self._agents.get_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`get_state`."""
        self._returns.clear()
        self._returns.extend(np.asarray(state["returns"]).tolist())
        self._lengths.clear()
        self._lengths.extend(np.asarray(state["lengths"]).tolist())
        self._info.clear()
        self.record_info(state.get("info", {}))
        self.num_episodes_lifetime = int(state["num_episodes_lifetime"])
        self.num_env_steps_lifetime = int(state["num_env_steps_lifetime"])
        self._agents.set_state(state.get("agents", {}))
        self.drop_open()


class EpisodeCounter:
    """Counts a fixed number of whole episodes per env, step by step; what comes after an env's last one is not counted.

    Args:
        quota: episodes of each env.

    Attributes:
        returns, lengths: of the episodes that have ended, in the order of their end.
        envs: whose they were.
        turns: which of that env's episodes they were, from 0.
        infos: their metrics; empty where none are looked for.
        cut: episodes that were given up instead, as (env, which of its episodes).
        failed: how many of those, because their env failed.
        cut_steps: steps that were taken in those.
        missing: how many have neither ended nor been cut.
    """

    def __init__(self, quota: list[int]) -> None:
        self._left = np.asarray(quota, np.int64)
        self._counts = self._left > 0
        self._return = np.zeros(len(quota), np.float64)
        self._length = np.zeros(len(quota), np.int64)
        self.returns: list[float] = []
        self.lengths: list[int] = []
        self.envs: list[int] = []
        self.turns: list[int] = []
        self.infos: list[Mapping[str, float]] = []
        self.cut: list[tuple[int, int]] = []
        self.failed = self.cut_steps = 0
        self._turn = [0] * len(quota)
        self.missing = int(self._left.sum())

    def add(
        self, rewards: Floats, dones: Bools, in_reset_row: Bools, infos: Sequence[Mapping[str, float]] = ()
    ) -> None:
        """Take in one step of every env.

        Args:
            rewards: ``[N]``.
            dones: ``[N]``, the step ended its episode.
            in_reset_row: ``[N]``, the step was a reset and is no experience.
            infos: metrics of the episodes that ended, in the order of envs; empty where none are looked for.
        """
        counts = self._counts & ~in_reset_row
        self._return += np.where(counts, rewards, 0.0)
        self._length += counts
        info_of = dict(zip(np.flatnonzero(dones).tolist(), infos, strict=True)) if infos else {}
        for n in np.flatnonzero(dones & counts):
            self.returns.append(float(self._return[n]))
            self.lengths.append(int(self._length[n]))
            self.envs.append(int(n))
            self.turns.append(self._turn[n])
            if infos:
                self.infos.append(info_of[int(n)])
            self._next(int(n))

    def _next(self, n: int) -> None:
        """Env n is done with one of its episodes."""
        self._return[n], self._length[n] = 0.0, 0
        self._turn[n] += 1
        self._left[n] -= 1
        self._counts[n] = self._left[n] > 0
        self.missing -= 1

    def too_long(self, steps: int) -> list[int]:
        """Envs whose open episode counts and has taken so many steps or more."""
        envs: list[int] = np.flatnonzero(self._counts & (self._length >= steps)).tolist()
        return envs

    def give_up(self, n: int) -> bool:
        """Count env n's open episode as cut; whether another one of its episodes is to follow."""
        self.cut.append((n, self._turn[n]))
        self.cut_steps += int(self._length[n])
        self._next(n)
        return bool(self._counts[n])

    def give_up_failed(self, envs: Bools) -> None:
        """Count the open episodes of ``envs [N]``, which failed, as cut, where they count."""
        for n in np.flatnonzero(envs & self._counts).tolist():
            self.failed += 1
            self.give_up(n)

    def give_up_all(self, n: int | None = None) -> None:
        """Count all that is missing, of env n or of every env, as cut, begun or not."""
        for env in range(len(self._turn)) if n is None else (n,):
            while self._left[env] > 0:
                self.give_up(env)


class EpisodeQuota:
    """A number of whole episodes per env; tells which steps of a rollout belong to them.

    Args:
        quota: episodes of each env, ``[N]``.
    """

    def __init__(self, quota: list[int]) -> None:
        self._left = np.asarray(quota, np.int64)

    @property
    def missing(self) -> bool:
        """Whether an env has episodes left."""
        return bool((self._left > 0).any())

    def take(self, dones: Bools) -> Bools:
        """Take in ``dones [T, N]`` of a rollout; ``[T, N]``, True for steps up to the end of an env's last episode."""
        ended = np.cumsum(dones, axis=0)
        counts: Bools = ended - dones < self._left
        self._left -= np.minimum(ended[-1], self._left)
        return counts


def _between(sums: NDArray[Any], first: Bools, carried: NDArray[Any]) -> NDArray[Any]:
    """Per-episode totals from running sums at episode ends, sorted by env and time."""
    previous = np.concatenate((sums[:1] * 0, sums[:-1]))
    totals: NDArray[Any] = np.where(first, sums + carried, sums - previous)
    return totals


def _mean_min_max(name: str, values: Floats) -> dict[str, float]:
    if not len(values):
        return {f"{name}_{suffix}": float("nan") for suffix in ("mean", "min", "max")}
    return {
        f"{name}_mean": float(values.mean()),
        f"{name}_min": float(values.min()),
        f"{name}_max": float(values.max()),
    }
