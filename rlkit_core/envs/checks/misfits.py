"""Observations that are not what their space says."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.data.nested import Nested, has_array
from rlkit_core.spaces import describe, sub_spaces


def misfit(space: gym.Space[Any], observation: Nested) -> str | None:
    """What keeps an observation from fitting its space, and the fix; None where it fits.

    A leaf has to have exactly the shape of its space, and numbers that ``np.can_cast(..., "same_kind")`` lets become
    those of its space; integers keep their values, and choices are among those there are. Numbers and lists of Python
    count by their values. The bounds of a Box are not looked at.
    """
    children = sub_spaces(space)
    if children is not None:
        return _misfit_of_parts(space, children, observation)
    if not has_array(space):
        return None if space.contains(observation) else f"should be a {describe(space)}, and is {_seen(observation)}"
    try:
        array = np.asarray(observation)
    except Exception as error:
        return f"should be a {describe(space)}, and is {_seen(observation)}, which is no array: {error}"
    if array.shape != space.shape:
        fix = f"return shape {space.shape}, or declare the space with shape {array.shape}"
        if array.size == int(np.prod(space.shape or (), dtype=np.int64)):
            fix = f"return .reshape({space.shape}) of it, or declare the space with shape {array.shape}"
        return f"should be a {describe(space)}, and is {_seen(observation)}; {fix}"
    wanted = np.dtype(space.dtype)
    plain = not hasattr(observation, "dtype")
    if not (_same_kind(array.dtype, wanted, plain) and _keeps_values(array, wanted)):
        fix = f"return .astype(np.{wanted}) of what fits it, or declare the space with dtype {array.dtype}"
        return f"should be a {describe(space)}, and is {_seen(observation)}; {fix}"
    if isinstance(space, (gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary)):
        typed = array.astype(wanted)
        if not space.contains(wanted.type(typed) if isinstance(space, gym.spaces.Discrete) else typed):
            return f"should be in {describe(space)}, and is {reprlib.repr(observation)}; declare a larger space"
    return None


def _misfit_of_parts(
    space: gym.Space[Any], children: list[tuple[Any, gym.Space[Any]]], observation: Nested
) -> str | None:
    if isinstance(space, gym.spaces.Dict):
        if not isinstance(observation, Mapping):
            return f"should be a dict with {[key for key, _ in children]}, and is {_seen(observation)}"
    elif not isinstance(observation, (tuple, list, np.ndarray)) or len(observation) != len(children):
        return f"should be a tuple of {len(children)}, and is {_seen(observation)}"
    for key, child in children:
        try:
            part = observation[key]
        except (KeyError, IndexError):
            return f"should have {key!r}, and is {_seen(observation)}"
        problem = misfit(child, part)
        if problem is not None:
            return f"at {key!r} {problem}"
    return None


def _same_kind(seen: np.dtype[Any], wanted: np.dtype[Any], plain: bool) -> bool:
    """Whether numbers of one kind may become another's; ``plain`` integers of Python may lose their sign."""
    return np.can_cast(seen, wanted, "same_kind") or (plain and seen.kind in "biu" and wanted.kind in "iu")


def _keeps_values(array: np.ndarray[Any, Any], wanted: np.dtype[Any]) -> bool:
    if wanted.kind not in "iu" or array.dtype == wanted:
        return True
    return bool((array.astype(wanted) == array).all())


def _seen(value: Nested) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None:
        text = f"an array of shape {tuple(shape)} and dtype {getattr(value, 'dtype', '?')}"
        return f"{text}, {reprlib.repr(np.asarray(value).tolist())}" if np.size(value) <= 4 else text
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with {list(value)}"
    return f"a {type(value).__name__}: {reprlib.repr(value)}"
