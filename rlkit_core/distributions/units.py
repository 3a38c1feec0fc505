"""Raw actions and the environment's: layouts and translation, by action space (tensors: :mod:`.tensor_units`)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces

from rlkit_core.distributions.tensor_units import tensor_to_env
from rlkit_core.errors import ConfigError
from rlkit_core.spaces import map_space, sub_spaces

if TYPE_CHECKING:
    import gymnasium as gym


def raw_action_layout(space: gym.Space[Any]) -> Any:
    """``(shape, dtype)`` of one raw action of a space: what a distribution samples and a rollout stores.

    Discrete: a scalar int64. Box: flat float32. MultiDiscrete: flat int64. MultiBinary: flat int8. Dict and
    Tuple: the same structure of layouts.

    Raises:
        ConfigError: the space is none of these.
    """
    if sub_spaces(space) is not None:
        return map_space(raw_action_layout, space)
    if isinstance(space, spaces.Discrete):
        return (), np.dtype(np.int64)
    if isinstance(space, spaces.Box):
        return (size_of(space),), np.dtype(np.float32)
    if isinstance(space, spaces.MultiDiscrete):
        return (int(space.nvec.size),), np.dtype(np.int64)
    if isinstance(space, spaces.MultiBinary):
        return (size_of(space),), np.dtype(np.int8)
    raise ConfigError(
        f"action space {type(space).__name__}: expected Discrete, MultiDiscrete, MultiBinary, Box, Dict or "
        "Tuple; a distribution for another space overrides action_shape_dtype and to_env"
    )


def raw_actions_to_env(actions: object, space: gym.Space[Any], *, normalize: bool = True, clip: bool = True) -> Any:
    """Translate raw actions, with any leading batch axes, to the environment's units (see ``to_env``).

    Arrays become arrays, and tensors tensors of their own on their device.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return map_sub_spaces(
            lambda item, sub, _: raw_actions_to_env(item, sub, normalize=normalize, clip=clip), actions, space
        )
    if isinstance(actions, torch.Tensor):
        return tensor_to_env(actions, space, normalize=normalize, clip=clip)
    array = np.asarray(actions)
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        array = array + first if first else array
        return array.astype(space.dtype, copy=False)
    if isinstance(space, spaces.Box):
        return box_units(space, normalize=normalize, clip=clip)(array)
    if isinstance(space, spaces.MultiDiscrete):
        array = _shaped(array, space.nvec.shape)
        start = getattr(space, "start", None)
        if start is not None and np.any(start):
            array = array + start
        return array.astype(space.dtype, copy=False)
    if isinstance(space, spaces.MultiBinary):
        return _shaped(array, space.shape).astype(space.dtype, copy=False)
    raw_action_layout(space)  # raises, naming the space
    return array


def map_sub_spaces(fn: Callable[[Any, Any, str], Any], struct: Any, space: Any) -> Any:
    """Apply ``fn(item, sub_space, key)`` to each entry of a Dict or Tuple space's struct; same structure
    out."""
    if isinstance(space, spaces.Dict):
        missing = [key for key in space.spaces if key not in struct]
        if missing:
            raise ConfigError(f"Dict action: no entry {missing[0]!r}; got keys {sorted(map(str, struct))}")
        return {key: fn(struct[key], sub, str(key)) for key, sub in space.spaces.items()}
    if len(struct) != len(space.spaces):
        raise ConfigError(f"Tuple action: expected {len(space.spaces)} entries, got {len(struct)}")
    return tuple(fn(item, sub, str(i)) for i, (item, sub) in enumerate(zip(struct, space.spaces, strict=True)))


def size_of(space: Any) -> int:
    """Number of elements of a space with a shape (1 for shape ``()``)."""
    return int(np.prod(space.shape, dtype=np.int64))


def _shaped(array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> Any:
    """Give flat actions ``(*batch, n)`` the shape ``(*batch, *shape)``; those that have it already stay."""
    if len(shape) == 1 and array.shape[-1:] == shape:
        return array
    size = int(np.prod(shape, dtype=np.int64))
    if array.ndim and array.shape[-1] == size:
        return array.reshape((*array.shape[:-1], *shape))
    if array.shape[array.ndim - len(shape) :] == shape:
        return array
    raise ConfigError(f"actions: expected flat (..., {size}) or (..., {shape}), got shape {array.shape}")


def box_units(space: spaces.Box, *, normalize: bool = True, clip: bool = True) -> Callable[[Any], Any]:
    """The translation of raw actions ``(*batch, n)`` of a Box to env units, with what the space says worked out."""
    low, high, dtype, shape = space.low, space.high, space.dtype, space.shape
    bounded = np.isfinite(low) & np.isfinite(high)
    low64 = np.where(bounded, low, -1.0).astype(np.float64)
    half = (np.where(bounded, high, 1.0).astype(np.float64) - low64) * 0.5
    some, all_ = bool(normalize and bounded.any()), bool(bounded.all())
    whole = np.issubdtype(dtype, np.integer)
    single = np.dtype(np.float32)
    if some:  # which makes float64 of actions; so need not be done each time
        low, high = low.astype(np.float64), high.astype(np.float64)

    def to_env(array: np.ndarray[Any, Any]) -> Any:
        array = _shaped(array, shape)
        if (normalize or clip) and array.dtype != single:
            array = array.astype(np.result_type(array.dtype, single), copy=False)
        if some:
            scaled = low64 + (array + 1.0) * half
            array = scaled if all_ else np.where(bounded, scaled, array)
        if clip:
            array = np.minimum(np.maximum(array, low), high)
        if whole:
            array = np.rint(array)
        return array.astype(dtype, copy=False)

    return to_env


def in_env_units(dist_cls: Any, *, normalize: bool, clip: bool) -> Callable[[Any, Any], Any]:
    """Return ``dist_cls.to_env`` as a function of actions and space, with those of the settings that it takes."""
    to_env = dist_cls.to_env
    settings = {"normalize": normalize, "clip": clip}
    parameters = inspect.signature(to_env).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        settings = {name: value for name, value in settings.items() if name in parameters}
    return functools.partial(to_env, **settings)
