"""Room for observations: arrays, and arrays of objects for leaves that have no fixed array (Text, Sequence, Graph)."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.spaces import batch_zeros


def has_array(space: gym.Space[Any]) -> bool:
    """Whether observations of a leaf space are arrays of one shape."""
    variable = (gym.spaces.Text, gym.spaces.Sequence, gym.spaces.Graph, gym.spaces.OneOf)
    return not isinstance(space, variable) and space.shape is not None and space.dtype is not None


def storage(space: gym.Space[Any], lead: tuple[int, ...]) -> Any:
    """Arrays ``[*lead, ...]`` for observations; leaves without a fixed array get arrays of objects ``[*lead]``."""
    if isinstance(space, gym.spaces.Dict):
        return {key: storage(child, lead) for key, child in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(storage(child, lead) for child in space.spaces)
    return batch_zeros(space, lead) if has_array(space) else np.empty(lead, dtype=object)


def own_copy(space: gym.Space[Any], observation: Any) -> Any:
    """A copy of one observation that does not change with the env's own."""
    if isinstance(space, gym.spaces.Dict):
        return {key: own_copy(child, observation[key]) for key, child in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(own_copy(child, part) for child, part in zip(space.spaces, observation, strict=True))
    return np.array(observation) if has_array(space) else copy.deepcopy(observation)
