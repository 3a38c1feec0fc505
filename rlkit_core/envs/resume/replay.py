"""Bringing an env to where it was: its reset, and the actions since."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.data.nested import storage
from rlkit_core.envs.resume.digests import RunningDigests
from rlkit_core.envs.resume.own_state import set_own_state
from rlkit_core.envs.resume.recorded import Recorded
from rlkit_core.spaces import nested_map

AT_ONCE = 64
"""Steps whose digests are computed together."""
NOT_DETERMINISTIC = "the env is not deterministic given its seed"

Writer = Callable[[Any, int, Any], None]


class UnlikeError(Exception):
    """An env did not come to where it was; the message says how that showed."""


def resume_env(
    env: gym.Env[Any, Any], episode: Recorded, space: gym.Space[Any], write: Writer, split: Callable[[Any], Any]
) -> Any:
    """Bring an env into an open episode.

    Args:
        env: one that is reset with its seed, and then stepped.
        episode: which.
        space: the env's observation space.
        write: ``write(rows, n, observation)``, as rollouts are written.
        split: from batched actions to those that the env takes.

    Returns:
        The observation it is at; where the env told its own state, that is known only to who kept it, and some other
        comes.

    Raises:
        UnlikeError: it went another way, or raised.
    """
    try:
        return _resume(env, episode, space, write, split)
    except UnlikeError:
        raise
    except Exception as error:
        raise UnlikeError(f"it raised {type(error).__name__} while it was replayed: {error}") from error


def _resume(
    env: gym.Env[Any, Any], episode: Recorded, space: gym.Space[Any], write: Writer, split: Callable[[Any], Any]
) -> Any:
    observation = env.reset(seed=episode.seed)[0]
    if episode.own is not None:
        set_own_state(env, episode.own)
        return observation
    rows = storage(space, (AT_ONCE, 1))
    rewards, dones = np.zeros((AT_ONCE, 1), np.float32), np.zeros((AT_ONCE, 1), np.bool_)
    at = [nested_map(lambda leaf, k=k: leaf[k], rows) for k in range(AT_ONCE)]
    digest = RunningDigests(1)
    write(at[0], 0, observation)
    digest.begin(at[0])
    count = 0
    for step, action in enumerate(split(episode.actions), 1):
        observation, rewards[count], terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            raise UnlikeError(f"{NOT_DETERMINISTIC}: its episode ended after {step} of {episode.length} steps")
        write(at[count], 0, observation)
        count += 1
        if count == AT_ONCE:
            digest.add(rows, rewards, dones)
            count = 0
    if count:
        digest.add(nested_map(lambda leaf: leaf[:count], rows), rewards[:count], dones[:count])
    if int(digest.values[0]) != episode.digest:
        raise UnlikeError(f"{NOT_DETERMINISTIC}: other observations or rewards in the {episode.length} steps since")
    return observation
