"""What a vector env returns, looked at once: shapes and dtypes of whole batches."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.data.nested import Nested, has_array
from rlkit_core.errors import EnvError
from rlkit_core.spaces import describe, sub_spaces


def check_observations(space: gym.Space[Any], num_envs: int, observations: Nested, who: str, path: str = "") -> None:
    """Look at observations ``[N, ...]``, nested as the space of one env is.

    Raises:
        EnvError: a leaf is missing, has another shape, or a dtype that cannot be cast.
    """
    children = sub_spaces(space)
    if children is not None:
        for key, child in children:
            try:
                part = observations[key]
            except (KeyError, IndexError, TypeError):
                raise EnvError(
                    f"{who}: observations{path} lack {key!r} of {describe(space)}, they are a "
                    f"{type(observations).__name__}"
                ) from None
            check_observations(child, num_envs, part, who, f"{path}[{key!r}]")
        return
    if not has_array(space):
        if not hasattr(observations, "__len__") or len(observations) != num_envs:
            raise EnvError(f"{who}: observations{path}: expected {num_envs} of {describe(space)}, got {observations!r}")
        return
    assert space.shape is not None
    assert space.dtype is not None
    check_rows(observations, (num_envs, *space.shape), space.dtype, f"{who}: observations{path}")


def check_rewards(num_envs: int, rewards: object, who: str) -> None:
    """Look at rewards, ``[N]`` numbers.

    Raises:
        EnvError: they are something else.
    """
    check_rows(rewards, (num_envs,), np.dtype(np.float64), f"{who}: rewards")


def check_flags(num_envs: int, flags: object, name: str, who: str) -> None:
    """Look at flags, ``[N]`` bool.

    Raises:
        EnvError: they are something else.
    """
    check_rows(flags, (num_envs,), np.dtype(np.bool_), f"{who}: {name}")


def check_rows(value: object, shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> None:
    """Look at an array, or a tensor.

    Raises:
        EnvError: it has another shape, or a dtype that cannot be cast.
    """
    seen, kind = shape_and_dtype(value)
    if seen != shape or not np.can_cast(kind, dtype, "same_kind"):
        raise EnvError(f"{what}: expected shape {shape} and dtype {dtype}, got shape {seen} and dtype {kind}")


def shape_and_dtype(value: Nested) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Of an array, a tensor (without looking at what is in it), or something that numpy makes an array of."""
    name = str(getattr(value, "dtype", ""))
    if name.startswith("torch."):
        name = name.removeprefix("torch.")
        return tuple(value.shape), np.dtype("float32" if name == "bfloat16" else name)
    array = np.asarray(value)
    return array.shape, array.dtype
