"""Raw actions and the environment's actions as torch tensors, on whatever device they are: see :mod:`.units`."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from attrs import frozen
from gymnasium import spaces
from torch import Tensor

from rlkit_core.errors import ConfigError


@frozen(eq=False)
class _BoxUnits:
    """What is needed of a Box, on one device."""

    space: spaces.Box[Any]  # kept, so that its id is not another's
    bounded: Tensor | None  # bool; None where nothing is
    low: Tensor
    high: Tensor
    start: Tensor
    half: Tensor
    dtype: torch.dtype


_boxes: dict[tuple[int, torch.device], _BoxUnits] = {}
_MOST = 64


def tensor_to_env(actions: Tensor, space: gym.Space[Any], *, normalize: bool, clip: bool) -> Tensor:
    """Translate raw actions of a leaf space, with any leading batch axes; a tensor of its own.

    Raises:
        ConfigError: their size is not that of the space.
    """
    if isinstance(space, spaces.Box):
        return _box(_shaped(actions, space.shape), _units_of(space, actions.device), normalize, clip)
    if isinstance(space, spaces.MultiDiscrete):
        actions = _shaped(actions, space.nvec.shape)
        start = getattr(space, "start", None)
        if start is not None and np.any(start):
            actions = actions + torch.as_tensor(start, device=actions.device)
    elif isinstance(space, spaces.Discrete):
        actions = actions + int(space.start) if space.start else actions
    elif isinstance(space, spaces.MultiBinary):
        actions = _shaped(actions, space.shape)
    else:
        raise ConfigError(f"action space {space}: there are no tensors of such actions")
    return actions.to(torch_dtype(space.dtype), copy=True)


@functools.cache
def torch_dtype(dtype: np.dtype[Any] | type[Any] | None) -> torch.dtype:
    """The torch dtype of a numpy dtype's name.

    Raises:
        ConfigError: torch has none.
    """
    found = getattr(torch, str(np.dtype(dtype)), None)
    if not isinstance(found, torch.dtype):
        raise ConfigError(f"torch has no dtype {np.dtype(dtype)}")
    return found


def _box(actions: Tensor, box: _BoxUnits, normalize: bool, clip: bool) -> Tensor:
    if normalize and box.bounded is not None:
        actions = torch.where(box.bounded, box.start + (actions + 1.0) * box.half, actions.double())
    if clip:
        actions = torch.clamp(actions, box.low, box.high)
    if not box.dtype.is_floating_point:
        actions = actions.round()
    return actions.to(box.dtype, copy=True)


def _units_of(space: spaces.Box[Any], device: torch.device) -> _BoxUnits:
    known = _boxes.get((id(space), device))
    if known is not None:
        return known
    bounded = np.isfinite(space.low) & np.isfinite(space.high)
    low = np.where(bounded, space.low, -1.0).astype(np.float64)
    high = np.where(bounded, space.high, 1.0).astype(np.float64)

    def here(array: np.ndarray[Any, Any]) -> Tensor:
        return torch.as_tensor(np.array(array), device=device)

    if len(_boxes) >= _MOST:
        _boxes.clear()
    with torch.inference_mode(False):
        units = _BoxUnits(
            space,
            here(bounded) if bounded.any() else None,
            here(space.low.astype(np.float64)),
            here(space.high.astype(np.float64)),
            here(low),
            here((high - low) * 0.5),
            torch_dtype(space.dtype),
        )
    _boxes[id(space), device] = units
    return units


def _shaped(actions: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Give flat actions ``(*batch, n)`` the shape ``(*batch, *shape)``; those that have it already stay."""
    size = int(np.prod(shape, dtype=np.int64))
    if len(shape) == 1 and actions.shape[-1:] == shape:
        return actions
    if actions.dim() and actions.shape[-1] == size:
        return actions.reshape((*actions.shape[:-1], *shape))
    if actions.shape[actions.dim() - len(shape) :] == shape:
        return actions
    raise ConfigError(f"actions: expected flat (..., {size}) or (..., {shape}), got shape {tuple(actions.shape)}")
