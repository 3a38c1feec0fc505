"""Functions of tensors that take numpy arrays as well, and give arrays then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

ArrayT = TypeVar("ArrayT", Tensor, npt.NDArray[Any])
"""All tensors, or all arrays."""


def on_tensors(function: Callable[..., Any], *arrays: object, **options: object) -> Any:
    """Call a function of tensors on tensors, or on arrays (the first one tells), seen as tensors without a copy.

    Args:
        function: takes tensors, some of which may be None, and gives a tensor or a tuple of tensors and Nones.
        *arrays: its tensors, or in their place arrays and numbers; with arrays, the result is made arrays too.
        **options: what is passed on as it is.
    """
    if isinstance(arrays[0], Tensor):
        return function(*arrays, **options)
    result = function(*map(_as_tensor, arrays), **options)
    return tuple(map(_as_array, result)) if isinstance(result, tuple) else _as_array(result)


def _as_tensor(array: Any) -> Tensor | None:
    # ascontiguousarray gives a number one axis
    return None if array is None else torch.as_tensor(np.ascontiguousarray(array)).reshape(np.shape(array))


def _as_array(tensor: Tensor | None) -> npt.NDArray[Any] | None:
    return None if tensor is None else tensor.numpy()
