"""What envs were given since their last resets, kept along with their rollouts at next to no cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.data.nested import Nested, leaves
from rlkit_core.envs.resume.digests import Array, RunningDigests
from rlkit_core.envs.resume.recorded import Recorded
from rlkit_core.spaces import map_space, nested_map

HELD_STEPS = 256
"""Steps that are looked at together: arrays of fewer cost more than copying them."""
HELD_BYTES = 1 << 20
"""Observations larger than that, over so many steps, are looked at after each rollout."""


class ActionHistory:
    """Actions of N envs since each one's last reset, and the digests of what they showed.

    Args:
        num_envs: N.
        action_space: of one env.
        limit: an open episode of more steps is forgotten.

    Attributes:
        limit: the same.
    """

    def __init__(self, num_envs: int, action_space: gym.Space[Any], limit: int) -> None:
        self.limit = limit
        self._num_envs, self._space = num_envs, action_space
        self._digests = RunningDigests(num_envs)
        self._sent: list[Nested] = []
        self._first = 0  # the number of the step that the first of them belongs to
        self._steps = 0
        self._began = np.zeros(num_envs, np.int64)  # the number of each open episode's first step
        self._held: _Held | None = None

    def begin(self, observations: Nested) -> None:
        """All envs were reset, and show ``observations [N, ...]``."""
        if self._held is not None:
            self._held.count = 0
        self._digests.begin(observations)
        self._sent, self._first, self._steps = [], 0, 0
        self._began[:] = 0

    def resumed(self, episodes: Sequence[Recorded | str | None], observations: Nested) -> None:
        """Go on in the middle of episodes.

        Args:
            episodes: one for each env; None where a fresh one has begun.
            observations: what envs show, ``[N, ...]``.
        """
        self.begin(observations)
        there = {n: one for n, one in enumerate(episodes) if isinstance(one, Recorded) and one.own is None}
        self._steps = longest = max((one.length for one in there.values()), default=0)
        self._began[:] = longest
        if not longest:
            return
        like = next(iter(there.values())).actions
        sent = nested_map(lambda x: np.zeros((longest, self._num_envs, *x.shape[1:]), x.dtype), like)
        for n, one in there.items():
            start = longest - one.length
            nested_map(lambda to, x: to.__setitem__((slice(start, None), n), x), sent, one.actions)  # noqa: B023
            self._began[n] = start
            self._digests.values[n] = one.digest
        self._sent = [nested_map(lambda x: x[t], sent) for t in range(longest)]  # noqa: B023

    def add(self, observations: Nested, rewards: Array, dones: Array, sent: Sequence[Nested]) -> None:
        """Take in a rollout of T steps.

        Args:
            observations: ``[T, N, ...]``, after each step; where an episode ended, the first of the next.
            rewards, dones: ``[T, N]``.
            sent: T actions ``[N, ...]``, as the envs got them; kept as they are.
        """
        self._sent.extend(sent)
        steps = len(sent)
        held = self._held
        if held is None:
            held = self._held = _Held(observations, self._num_envs)
        if held.count + steps > held.room:
            self._look()
        if steps > held.room:
            self._take(observations, rewards, dones)
        else:
            held.add(observations, rewards, dones, steps)

    def _look(self) -> None:
        """Look at what is held."""
        held = self._held
        if held is not None and held.count:
            count, held.count = held.count, 0
            self._take(nested_map(lambda x: x[:count], held.obs), held.rewards[:count], held.dones[:count])

    def _take(self, observations: Nested, rewards: Array, dones: Array) -> None:
        self._steps += len(rewards)
        ends = self._digests.add(observations, rewards, dones)
        if ends is not None:
            ended, since = ends
            self._began = np.where(ended, self._steps - since, self._began)
        unused = max(int(self._began.min()), self._steps - self.limit) - self._first
        if unused > max(HELD_STEPS, len(self._sent) // 2):  # now and then, since it takes longer than an addition
            del self._sent[:unused]
            self._first += unused

    def episodes(self, seeds: Sequence[int | None], own: Sequence[list[Any] | None] = ()) -> list[Recorded | str]:
        """The open episodes, or why one cannot be gone on with.

        Args:
            seeds: that they began with, ``[N]``.
            own: what envs tell of their own state, ``[N]``; None where they do not.
        """
        self._look()
        begin = [max(int(n), self._first) for n in self._began]
        start = min(begin) - self._first
        sent = self._sent[start:]
        stacked = self._stacked(sent)
        found: list[Recorded | str] = []
        for n, seed in enumerate(seeds):
            length = self._steps - int(self._began[n])
            if own and own[n] is not None:
                nothing = nested_map(lambda x: x[:0, n], stacked)  # noqa: B023
                found.append(Recorded(seed or 0, nothing, 0, 0, own[n]))
            elif seed is None:
                found.append("it was reset without a seed")
            elif length > self.limit:
                found.append(f"its open episode has {length} steps, more than replay_limit={self.limit}")
            else:
                actions = nested_map(lambda x: x[len(x) - length :, n], stacked)  # noqa: B023
                found.append(Recorded(seed, actions, length, int(self._digests.values[n])))
        return found

    def _stacked(self, sent: Sequence[Nested]) -> Nested:
        if not sent:
            return map_space(lambda leaf: np.empty((0, self._num_envs, *(leaf.shape or ())), leaf.dtype), self._space)
        return map_space(lambda _, *steps: np.stack(steps), self._space, *sent)


class _Held:
    """Room for the steps of short rollouts.

    Args:
        observations: like these, ``[T, N, ...]``.
        num_envs: N.

    Attributes:
        room: how many steps; 0 where observations are large.
        count: how many are there.
        obs, rewards, dones: of each step.
    """

    def __init__(self, observations: Nested, num_envs: int) -> None:
        size = sum(leaf[0].nbytes for leaf in leaves(observations))
        self.room = HELD_STEPS if size * HELD_STEPS <= HELD_BYTES else 0
        self.count = 0
        self.obs = nested_map(lambda x: np.empty((self.room, *x.shape[1:]), x.dtype), observations)
        self.rewards = np.empty((self.room, num_envs), np.float32)
        self.dones = np.empty((self.room, num_envs), np.bool_)
        self._plain = self.obs if isinstance(self.obs, np.ndarray) else None

    def add(self, observations: Nested, rewards: Array, dones: Array, steps: int) -> None:
        """Copy the steps of a rollout, for which there is room."""
        count = self.count
        stop = count + steps
        if self._plain is not None:
            self._plain[count:stop] = observations
        else:
            nested_map(lambda own, new: own.__setitem__(slice(count, stop), new), self.obs, observations)
        self.rewards[count:stop] = rewards
        self.dones[count:stop] = dones
        self.count = stop
