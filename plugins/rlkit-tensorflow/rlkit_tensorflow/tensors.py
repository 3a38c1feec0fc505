"""From torch to TensorFlow and back, by numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import torch

from rlkit_core.spaces import nested_map


def from_numpy(array: object) -> Any:
    """A tensor of a numpy array."""
    return tf.convert_to_tensor(array)


def to_numpy(value: object) -> Any:
    """A numpy array of a tensor or variable; other values stay."""
    return value.numpy() if hasattr(value, "numpy") else value


def as_tensor(value: object) -> Any:
    """A tensor of a tensor, TensorFlow's or torch's, an array or a number."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    return tf.convert_to_tensor(value)


def as_tensors(nested: object) -> Any:
    """:func:`as_tensor` of every leaf of nested dicts, tuples and lists."""
    return nested_map(as_tensor, nested)


def as_torch(value: object) -> torch.Tensor:
    """A torch tensor of a tensor or an array, in memory of its own."""
    if isinstance(value, torch.Tensor):
        return value
    return torch.from_numpy(np.array(to_numpy(value)))


def to_torch(nested: object) -> Any:
    """:func:`as_torch` of every leaf of nested dicts, tuples and lists."""
    return nested_map(as_torch, nested)
