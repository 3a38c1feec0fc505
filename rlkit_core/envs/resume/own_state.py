"""Envs and wrappers that can tell their state: then nothing is replayed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker


class NoState:
    """A wrapper of the core's own, which a reset brings to where it was."""


STATELESS = (OrderEnforcing, PassiveEnvChecker, NoState)
"""Wrappers that a reset brings to where they were."""


def layers(env: object) -> Iterator[Any]:
    """An env's wrappers, the outermost first, and the env itself."""
    yield env
    while isinstance(env, gym.Wrapper):
        env = env.env
        yield env


def _tells(layer: object) -> bool:
    """Whether it has both methods, as they are meant here; MuJoCo's ``set_state`` takes two arguments."""
    for name, arguments in (("get_state", ()), ("set_state", ({},))):
        method = getattr(layer, name, None) if hasattr(type(layer), name) else None
        if not callable(method):
            return False
        try:
            inspect.signature(method).bind(*arguments)
        except (TypeError, ValueError):
            return False
    return True


def tells_state(env: object) -> bool:
    """Whether the env and all of its wrappers have ``get_state()`` and ``set_state(state)``."""
    return all(isinstance(layer, STATELESS) or _tells(layer) for layer in layers(env))


def get_own_state(env: object) -> list[Any] | None:
    """What the env and its wrappers say of themselves, the outermost first; None where one of them does not.

    What is no JSON, arrays apart, counts as nothing.
    """
    if not tells_state(env):
        return None
    states = [layer.get_state() for layer in layers(env) if not isinstance(layer, STATELESS)]
    return states if is_data(states) else None


def set_own_state(env: object, states: list[Any]) -> None:
    """Let the env and its wrappers, which were reset before, be as they said.

    Raises:
        ValueError: there are others than there were.
    """
    ours = [layer for layer in layers(env) if not isinstance(layer, STATELESS)]
    if len(ours) != len(states):
        raise ValueError(f"there were {len(states)} states of it and its wrappers, and now there are {len(ours)}")
    for layer, state in zip(ours, states, strict=True):
        setter: Callable[[Any], object] = layer.set_state
        setter(state)


def is_data(value: object) -> bool:
    """Whether a checkpoint can hold something: JSON, and arrays of numbers."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return True
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.kind in "biuf"
    if isinstance(value, dict):
        return all(isinstance(key, (str, int)) for key in value) and all(map(is_data, value.values()))
    return isinstance(value, (list, tuple)) and all(map(is_data, value))
