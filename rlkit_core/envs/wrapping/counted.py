"""Counting returns and episodes below wrappers that are for training only.

Such wrappers change rewards and end episodes early. What a run reports is what the env itself gave: :class:`Below`
stands under the first of them, :class:`Counted` above the last, and between them they say at each end of an episode
what there was of it underneath. :class:`HeldEpisodes` makes whole episodes of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

RETURN, ENDED, FRESH = "rlkit/return_below", "rlkit/ended_below", "rlkit/fresh_below"
COUNTED = (RETURN, ENDED, FRESH)
"""What the last ``info`` of an episode has: the return below since the env below was reset; whether its own episode
ended; whether it was reset when the episode above began."""


class Below(gym.Wrapper[Any, Any, Any, Any]):
    """Sums the rewards of an env, and sees its resets.

    Attributes:
        total: rewards since its last reset.
        ended: its episode has ended.
        resets: how often it was reset.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.total, self.ended, self.resets = 0.0, False, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the env."""
        self.total, self.ended = 0.0, False
        self.resets += 1
        return self.env.reset(seed=seed, options=options) if options else self.env.reset(seed=seed)

    def step(self, action: object) -> Any:
        """Step the env."""
        outcome = self.env.step(action)
        self.total += float(outcome[1])
        self.ended = bool(outcome[2] or outcome[3])
        return outcome

    def get_state(self) -> dict[str, Any]:
        """What a reset would lose."""
        return {"total": self.total, "ended": self.ended}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`get_state`."""
        self.total, self.ended = float(state["total"]), bool(state["ended"])


class Counted(gym.Wrapper[Any, Any, Any, Any]):
    """Says in the last ``info`` of each episode what :data:`COUNTED` names.

    Args:
        env: the outermost wrapper for training.
        below: stands underneath the innermost.
    """

    def __init__(self, env: gym.Env[Any, Any], below: Below) -> None:
        super().__init__(env)
        self._below, self._fresh = below, True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the env."""
        before = self._below.resets
        shown = self.env.reset(seed=seed, options=options) if options else self.env.reset(seed=seed)
        self._fresh = self._below.resets > before
        return shown

    def step(self, action: object) -> Any:
        """Step the env."""
        outcome = self.env.step(action)
        if outcome[2] or outcome[3]:
            below = self._below
            told = {RETURN: below.total, ENDED: float(below.ended), FRESH: float(self._fresh)}
            return (*outcome[:4], {**outcome[4], **told})
        return outcome

    def get_state(self) -> dict[str, Any]:
        """What a reset would lose."""
        return {"fresh": self._fresh}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`get_state`."""
        self._fresh = bool(state["fresh"])


class WholeEpisodes(NamedTuple):
    """Episodes below that have ended, ``[E]``: whose they were, and what else their last infos had."""

    envs: NDArray[np.int64]
    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    infos: list[Mapping[str, float]]


class HeldEpisodes:
    """Episodes below, of which there may be several above: of each env the one that has not ended.

    An episode below is whole when it ends, or when its env is reset all the same, which shows at the next end above.

    Args:
        num_envs: N.
    """

    def __init__(self, num_envs: int) -> None:
        self._return = np.zeros(num_envs, np.float64)
        self._length = np.zeros(num_envs, np.int64)

    def take(
        self, envs: NDArray[np.int64], lengths: NDArray[np.int64], infos: Sequence[Mapping[str, float]]
    ) -> WholeEpisodes:
        """Take in episodes above that have ended, in the order of their ends.

        Args:
            envs: ``[E]``, whose they are.
            lengths: ``[E]``, steps of the agent.
            infos: ``[E]``, with what :data:`COUNTED` names.
        """
        whole: list[tuple[int, float, int]] = []
        others: list[Mapping[str, float]] = []
        for n, length, info in zip(envs.tolist(), lengths.tolist(), infos, strict=True):
            if info[FRESH] and self._length[n]:
                whole.append((n, self._return[n], self._length[n]))
                others.append({})
                self._length[n] = 0
            self._return[n] = info[RETURN]
            self._length[n] += length
            if info[ENDED]:
                whole.append((n, self._return[n], self._length[n]))
                others.append({name: value for name, value in info.items() if name not in COUNTED})
                self.drop([n])
        ended, returns, lengths_ = zip(*whole, strict=True) if whole else ((), (), ())
        return WholeEpisodes(
            np.array(ended, np.int64), np.array(returns, np.float64), np.array(lengths_, np.int64), others
        )

    def drop(self, envs: Sequence[int] | slice) -> None:
        """Forget what is held of some envs."""
        self._return[envs] = self._length[envs] = 0

    def get_state(self) -> dict[str, NDArray[Any]]:
        """What is held, each ``[N]``."""
        return {"held_returns": self._return.copy(), "held_lengths": self._length.copy()}

    def set_state(self, state: Mapping[str, NDArray[Any]], fresh: NDArray[np.bool_]) -> None:
        """Go on from :meth:`get_state`, but where ``fresh [N]`` is True."""
        if "held_returns" in state:  # older checkpoints have none
            self._return[:] = np.where(fresh, 0, state["held_returns"])
            self._length[:] = np.where(fresh, 0, state["held_lengths"])
