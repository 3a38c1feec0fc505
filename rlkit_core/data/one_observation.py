"""One observation alone as tensors with a leading axis of 1, held against its space, as quickly as that goes."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rlkit_core.errors import ConfigError
from rlkit_core.spaces import describe, sub_spaces

Reader = Callable[[object], Any]
_CHOICES = (gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary)


def observation_reader(
    space: gym.Space[Any], device: torch.device | None = None, *, reuse: bool = False, place: str = ""
) -> Reader:
    """A function ``read(observation)`` that gives tensors ``(1, ...)``, nested as the space, made for it.

    A leaf has to have exactly the shape of its space, and numbers that may become those of its space; choices are among
    those there are. The bounds of a Box are not looked at. What it gives shares no memory with the observation.

    Args:
        space: all of its leaves are arrays.
        device: where the tensors are to be.
        reuse: give the same tensors each time, written anew: for whoever keeps none of them.
        place: where in an observation the space is, for messages.

    The function raises ConfigError, which names the leaf, what was expected and what was seen.
    """
    children = sub_spaces(space)
    if children is None:
        return _leaf_reader(space, device, reuse, place)
    readers = [
        (key, observation_reader(child, device, reuse=reuse, place=f"{place}[{key!r}]")) for key, child in children
    ]
    if isinstance(space, gym.spaces.Dict):

        def read_dict(observation: object) -> Any:
            if not isinstance(observation, Mapping) or any(key not in observation for key, _ in readers):
                raise _refusal(place, f"a dict with {[key for key, _ in readers]}", observation)
            return {key: read(observation[key]) for key, read in readers}

        return read_dict

    def read_tuple(observation: object) -> Any:
        if not isinstance(observation, (tuple, list, np.ndarray)) or len(observation) != len(readers):
            raise _refusal(place, f"a tuple of {len(readers)}", observation)
        return tuple(read(part) for (_, read), part in zip(readers, observation, strict=True))

    return read_tuple


def _leaf_reader(space: gym.Space[Any], device: torch.device | None, reuse: bool, place: str) -> Reader:
    shape, wanted = tuple(space.shape or ()), np.dtype(space.dtype)
    batched, from_numpy, array_of = (1, *shape), torch.from_numpy, np.array
    rows = np.zeros(batched, wanted)
    kept = from_numpy(rows) if reuse else None
    choices = isinstance(space, _CHOICES)

    def read(observation: object) -> Any:
        if type(observation) is not np.ndarray or observation.shape != shape or observation.dtype != wanted:
            observation = _fitting(space, shape, wanted, observation, place)
        if choices and not space.contains(observation if shape else np.asarray(observation)[()]):
            raise _refusal(place, describe(space), observation)
        if kept is not None:
            rows[0] = observation
            return kept if device is None else kept.to(device)
        tensor = from_numpy(array_of(observation).reshape(batched))
        return tensor if device is None else tensor.to(device)

    return read


def _fitting(space: gym.Space[Any], shape: tuple[int, ...], wanted: np.dtype[Any], seen: object, place: str) -> Any:
    """What is no array of the very dtype as one, where it may become one."""
    try:
        array = np.asarray(seen.cpu() if isinstance(seen, torch.Tensor) else seen)
    except (TypeError, ValueError) as error:
        raise _refusal(place, describe(space), seen) from error
    plain = not hasattr(seen, "dtype") and array.dtype.kind in "bi" and wanted.kind in "biu"
    if array.shape != shape or not (plain or np.can_cast(array.dtype, wanted, "same_kind")):
        raise _refusal(place, describe(space), seen)
    made = array.astype(wanted)
    if wanted.kind in "biu" and not (made == array).all():
        raise _refusal(place, describe(space), seen)
    return made


def _refusal(place: str, expected: str, seen: object) -> ConfigError:
    if isinstance(seen, Mapping):
        what = f"a dict with {list(seen)}"
    elif isinstance(seen, (np.ndarray, np.generic, torch.Tensor)):
        what = f"shape {tuple(seen.shape)} and dtype {seen.dtype}"
        what += f", {reprlib.repr(seen.tolist())}" if max(seen.shape, default=1) <= 4 else ""
    else:
        what = f"{type(seen).__name__} {reprlib.repr(seen)}"
    return ConfigError(
        f"observation{place}: expected {expected}, as the wrapped env gives it and without a batch axis, got {what}"
    )
