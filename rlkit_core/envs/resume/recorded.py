"""What is kept of an open episode, and its form in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from attrs import frozen

from rlkit_core.data.nested import Nested, leaves
from rlkit_core.spaces import map_space


@frozen(eq=False)
class Recorded:
    """An open episode of one env.

    Attributes:
        seed: of the reset that it began with.
        actions: batched, ``[L, ...]``, nested as the action space is: what the env was given since.
        length: L.
        digest: see :class:`~rlkit_core.envs.resume.digests.RunningDigests`.
        own: what the env and each of its wrappers say of themselves, the outermost first; then nothing is replayed.
    """

    seed: int
    actions: Nested
    length: int
    digest: int
    own: list[Any] | None = None


def encode(space: gym.Space[Any], episodes: Sequence[Recorded | str]) -> dict[str, Any]:
    """Episodes as data of few arrays; where there is text instead, it says why there is none.

    Args:
        space: the action space.
        episodes: one for each env.
    """
    there = [one for one in episodes if isinstance(one, Recorded)]
    columns = [list(leaves(map_space(lambda _, values: values, space, one.actions))) for one in there]
    return {
        "problems": [None if isinstance(one, Recorded) else one for one in episodes],
        "seeds": np.array([one.seed for one in there], np.int64),
        "lengths": np.array([one.length for one in there], np.int64),
        "digests": np.array([one.digest for one in there], np.uint64),
        "actions": [np.concatenate(parts) for parts in zip(*columns, strict=True)],
        "own": [one.own for one in there],
    }


def decode(space: gym.Space[Any], data: Mapping[str, Any]) -> list[Recorded | str]:
    """What :func:`encode` was given."""
    lengths = np.asarray(data["lengths"]).tolist()
    ends = np.cumsum([0, *lengths])
    episodes: list[Recorded | str] = []
    index = 0
    for problem in data["problems"]:
        if problem is not None:
            episodes.append(str(problem))
            continue
        start, stop = ends[index], ends[index + 1]
        columns = iter(data["actions"])
        episodes.append(
            Recorded(
                seed=int(data["seeds"][index]),
                actions=map_space(lambda _: np.asarray(next(columns)[start:stop]), space),  # noqa: B023
                length=int(lengths[index]),
                digest=int(data["digests"][index]),
                own=data["own"][index],
            )
        )
        index += 1
    return episodes
