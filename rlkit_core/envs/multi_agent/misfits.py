"""Observations that are not what their space says."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.data.nested import Nested, has_array
from rlkit_core.spaces import describe, sub_spaces


def misfit(space: gym.Space[Any], observation: Nested) -> str | None:
    """What keeps an observation from fitting its space: shape, kind of numbers, an unknown choice; None where it fits.

    Floats of another width fit; the bounds of a Box are not looked at.
    """
    children = sub_spaces(space)
    if children is not None:
        for key, child in children:
            try:
                part = observation[key]
            except (KeyError, IndexError, TypeError):
                return f"should have {key!r}, and is {_seen(observation)}"
            problem = misfit(child, part)
            if problem is not None:
                return f"at {key!r} {problem}"
        return None
    if not has_array(space):
        return None if space.contains(observation) else f"should be a {describe(space)}, and is {_seen(observation)}"
    try:
        array = np.asarray(observation)
    except Exception:
        return f"should be a {describe(space)}, and is {_seen(observation)}"
    kind = np.dtype(space.dtype).kind
    if array.shape != space.shape or array.dtype.kind not in ("biuf" if kind == "f" else "biu"):
        return f"should be a {describe(space)}, and is {_seen(observation)}"
    if isinstance(space, (gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary)):
        typed = array.astype(space.dtype)
        if not space.contains(space.dtype.type(typed) if isinstance(space, gym.spaces.Discrete) else typed):
            return f"should be in {describe(space)}, and is {observation!r}"
    return None


def all_finite(space: gym.Space[Any], observation: Nested) -> bool:
    """Whether no number of an observation is NaN or infinite."""
    children = sub_spaces(space)
    if children is not None:
        return all(all_finite(child, observation[key]) for key, child in children)
    if not has_array(space) or np.dtype(space.dtype).kind != "f":
        return True
    return bool(np.isfinite(np.asarray(observation, space.dtype)).all())


def _seen(value: object) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"an array of shape {shape} and dtype {getattr(value, 'dtype', '?')}"
    text = repr(value)
    return f"a {type(value).__name__}: {text if len(text) < 80 else text[:77] + '...'}"
