"""Envs of one agent that fail while a rollout is sampled: they begin anew, and the rollout is put right.

The rows of an env that failed in row t look as those of a vector env that resets in the next step: row t-1 is truncated
and led to what row t shows, which is its final observation too; row t itself is masked, and a fresh episode begins in
row t+1. An error is noticed at once. What is not finite is noticed later, when a block of rows is looked at: then the
rows up to there are masked too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from attrs import frozen

from rlkit_core.data.nested import Nested, leaves
from rlkit_core.envs.checks.rollouts import BadValueError, RolloutChecks
from rlkit_core.envs.faults.fault import Fault, Restarts
from rlkit_core.envs.memory import Bools
from rlkit_core.envs.rollout_buffers import RolloutBuffers
from rlkit_core.seeding import SeedTree
from rlkit_core.spaces import nested_map

SeedSource = Callable[[int], "int | None"]
Finals = list[tuple[int, Any]]
"""Final observations with their places ``t * N + n``."""


class Renewable(Protocol):
    """What is asked of a vector env; see :class:`~rlkit_core.envs.vector.VectorEnv`."""

    num_envs: int
    ended_infos: list[dict[str, float]]
    restarts_one: bool

    def restart(self, n: int, seed: int, obs_out: Nested) -> Fault | None:
        """Make env n anew and reset it; what failed then, None where nothing did."""
        ...


@frozen
class Patch:
    """Rows ``start:stop`` of env ``env`` that hold nothing of use; row ``start`` shows something finite."""

    env: int
    start: int
    stop: int


class Mender:
    """Lets envs that failed begin anew.

    Args:
        env: the envs.
        restarts: decides whether they may.
        checks: looks for what is not finite, and for choices that there are not.
        next_seed: the seed of an env's next episode, or None.
        seeds: seeds are drawn from it where that gives none: an env that was made anew has no generator to go on with.
    """

    def __init__(
        self, env: Renewable, restarts: Restarts, checks: RolloutChecks, next_seed: SeedSource | None, seeds: SeedTree
    ) -> None:
        self._env, self._restarts, self._checks = env, restarts, checks
        self._next_seed, self._seeds = next_seed, seeds
        self._drawn = 0
        self._patches: list[Patch] = []
        self._lost: list[tuple[int, int]] = []
        self._now = 0  # steps of each env before this rollout
        self._began = np.zeros(env.num_envs, np.int64)  # at which of them its episode began, once an env has failed

    # -- while envs are stepped -----------------------------------------------------------------------------------

    def begin(self) -> None:
        """A new rollout begins."""
        self._patches, self._lost = [], []

    def sort_out(self, t: int, ended: Sequence[tuple[int, Any]], buffers: RolloutBuffers) -> Finals:
        """Take in what :meth:`VectorEnv.step` returned of row t: the final observations in it; envs that failed begin
        anew.

        Raises:
            EnvError, NonFiniteError: one of them may not.
        """
        finals: Finals = []
        for n, what in ended:
            if not isinstance(what, Fault):
                finals.append((t * self._env.num_envs + n, what))
                continue
            if what.at_reset:
                began = self._now + t + 1
            else:
                began = self._episode_began(n, t, buffers)
                self._lost.append((t, n))
                buffers.reward_rows[t][n] = 0.0
                buffers.terminated_rows[t][n], buffers.truncated_rows[t][n] = False, True
            self._renew(what, t + 1, began, buffers.obs_rows[t + 1])
        return finals

    def reset(self, faults: Sequence[Fault], rows: Nested) -> None:
        """Let envs begin anew that failed in the reset before the first row ``rows``, or show what is not finite.

        Raises:
            EnvError, NonFiniteError: one of them may not.
        """
        for fault in faults:
            self._renew(fault, 0, self._now, rows)
        for n in range(self._env.num_envs) if not self._checks.well_at_reset(rows) else ():
            error = self._checks.at_reset(rows, n)
            if error is not None:
                self._renew(Fault(n, error, at_reset=True), 0, self._now, rows)
        self._began[:] = self._now

    def look(self, buffers: RolloutBuffers, start: int, stop: int, finals: Finals) -> list[int]:
        """Look at rewards of the steps ``start:stop`` and at the observations after them.

        Envs that returned something that is not finite begin anew in row ``stop``.

        Args:
            buffers: the rollout's.
            start, stop: which steps.
            finals: final observations so far; those of rows that are masked now are taken out.

        Returns:
            Which envs began anew.

        Raises:
            NonFiniteError: one of them may not, or they cannot begin one by one.
        """
        if buffers.well(start, stop):
            return []
        found = self._checks.culprits(buffers.readable(), start, stop)
        for n, t, error in found:
            if not self._env.restarts_one:
                raise error
            began = self._episode_began(n, t, buffers)
            self._forget(buffers, Patch(n, t, stop), finals)
            self._renew(Fault(n, error), stop, began, buffers.obs_rows[stop], failed=t + 1)
        return [n for n, _, _ in found]

    def blame(self, buffers: RolloutBuffers, start: int, stop: int) -> None:
        """Before an error is raised: what is not finite in these rows may be why, and is raised instead.

        Raises:
            NonFiniteError: there is something.
        """
        if not buffers.well(start, stop):
            for _, _, error in self._checks.culprits(buffers.readable(), start, stop):
                raise error

    def _forget(self, buffers: RolloutBuffers, patch: Patch, finals: Finals) -> None:
        """Mask rows from that of a failure on, and let nothing of them be left."""
        n, start, stop = patch.env, patch.start, patch.stop
        self._drop_ends(n, start, stop, buffers, finals)
        for row in buffers.obs_rows[start + 1 : stop]:
            for leaf, first in zip(leaves(row), leaves(buffers.obs_rows[start]), strict=True):
                leaf[n] = first[n]
        buffers.rewards[start:stop, n] = 0.0
        buffers.terminateds[start:stop, n] = buffers.truncateds[start:stop, n] = False
        self._lost = [(t, env) for t, env in self._lost if env != n or t < start]
        self._lost += [(t, n) for t in range(start, stop)]
        self._patches.append(patch)

    def _drop_ends(self, n: int, start: int, stop: int, buffers: RolloutBuffers, finals: Finals) -> None:
        """Forget what is kept of the ends of episodes of env n in rows ``start:stop``."""
        infos, envs = self._env.ended_infos, self._env.num_envs
        if infos:  # those of each episode that has ended, in the order of steps and envs
            dones = buffers.terminateds | buffers.truncateds
            for t, env in self._lost:
                dones[t, env] = False
            places = list(zip(*dones.nonzero(), strict=True))[: len(infos)]
            kept = [info for (t, env), info in zip(places, infos, strict=True) if env != n or not start <= t < stop]
            infos[:] = kept
        finals[:] = [(at, final) for at, final in finals if at % envs != n or not start <= at // envs < stop]

    def _renew(self, fault: Fault, t: int, began: int, rows: Nested, *, failed: int | None = None) -> None:
        """Let an env that failed (before row ``failed``) begin anew in row t, and write what it shows into ``rows``."""
        n, now = fault.env, self._now + t
        when = now if failed is None else self._now + failed
        while True:
            self._restarts.take(fault, now=when, began=began, anew=now)
            again = self._env.restart(n, self._seed(n), rows)
            if again is None:
                error = self._checks.at_reset(rows, n)
                if error is None:
                    return
                again = Fault(n, error, at_reset=True)
            fault, began, when = again, now, now

    def _seed(self, n: int) -> int:
        seed = None if self._next_seed is None else self._next_seed(n)
        if seed is None:
            seed = self._seeds.child(self._drawn).seed()
            self._drawn += 1
        return seed

    def _episode_began(self, n: int, t: int, buffers: RolloutBuffers) -> int:
        ends = np.flatnonzero(buffers.terminateds[:t, n] | buffers.truncateds[:t, n])
        return self._now + int(ends[-1]) + 1 if len(ends) else int(self._began[n])

    # -- when they have been stepped ------------------------------------------------------------------------------

    def settle(self, buffers: RolloutBuffers, finals: Finals) -> tuple[Bools, Bools | None]:
        """Put the flags of a rollout right.

        Args:
            buffers: the rollout's, full.
            finals: its final observations; those that are not finite are taken out, and their steps masked; those of
                episodes that broke off are put in.

        Returns:
            ``[T, N]``: steps that ended their episode; and those that are masked since their env failed, None where
            there are none.

        Raises:
            NonFiniteError: a final observation is not finite, and its env may not begin anew.
        """
        for index, error in self._checks.bad_finals(finals, buffers) if finals else ():
            self._lose_end(index, error, buffers, finals)
        dones: Bools = buffers.terminateds | buffers.truncateds
        lost: Bools | None = None
        if self._lost:
            lost = np.zeros_like(dones)
            for t, n in self._lost:
                lost[t, n] = True
            dones &= ~lost
            buffers.terminateds[lost] = buffers.truncateds[lost] = False
            for t, n in self._lost:
                if t and not lost[t - 1, n] and not dones[t - 1, n]:
                    buffers.truncateds[t - 1, n] = True
                    finals.append(((t - 1) * self._env.num_envs + n, _row(buffers.obs_rows[t], n)))
            finals.sort(key=lambda final: final[0])
        if self._restarts.count:
            over = dones if lost is None else dones | lost
            any_over = over.any(0)
            last = buffers.num_steps - np.argmax(over[::-1], 0)
            self._began = np.where(any_over, self._now + last, self._began)
        self._now += buffers.num_steps
        return dones, lost

    def _lose_end(self, index: int, error: BadValueError, buffers: RolloutBuffers, finals: Finals) -> None:
        """Mask a step that ended its episode with something that is not finite; its env has begun anew already."""
        t, n = divmod(index, self._env.num_envs)
        if not self._env.restarts_one:
            raise error
        self._restarts.take(Fault(n, error), now=self._now + t + 1, began=self._episode_began(n, t, buffers))
        self._drop_ends(n, t, t + 1, buffers, finals)
        buffers.rewards[t, n] = 0.0
        self._lost.append((t, n))

    def patch(self, columns: dict[str, Nested], states: Sequence[Nested], seq_len: int | None) -> None:
        """Let what a module made of rows that hold nothing of use be what it made of the last row before them.

        Args:
            columns: what it returned, ``{name: [T, N, ...]}``.
            states: its states before rows ``0, seq_len, ...``, each ``[N, ...]``.
            seq_len: of a recurrent module.
        """
        with torch.inference_mode():
            for patch in self._patches:
                n, start, stop = patch.env, patch.start, patch.stop
                for column in columns.values():
                    for leaf in leaves(column):
                        leaf[start + 1 : stop, n] = leaf[start, n]
                if seq_len is None:
                    continue
                for g, state in enumerate(states):
                    if start < g * seq_len < stop:
                        for leaf, before in zip(leaves(state), leaves(states[start // seq_len]), strict=True):
                            leaf[n] = before[n]


def _row(rows: Nested, n: int) -> Nested:
    """A copy of row n, of things that have no array the thing itself."""
    return nested_map(lambda leaf: leaf[n] if leaf.dtype == object else leaf[n].copy(), rows)
