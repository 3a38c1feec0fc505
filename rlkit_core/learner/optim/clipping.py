"""Norms and clipping of gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from rlkit_core.errors import ConfigError

ParamDict = dict[nn.Parameter, Tensor]
"""Parameter to gradient."""
CLIP_KINDS = ("value", "norm", "global_norm")


def global_norm(gradients: Iterable[Tensor]) -> Tensor:
    """L2 norm over all gradients together, a 0-dim tensor."""
    tensors = list(gradients)
    if len(tensors) == 1:  # a flat buffer
        norm: Tensor = torch.linalg.vector_norm(tensors[0])
    else:
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors, 2.0)))
    return norm


def clip_gradients(gradients: ParamDict, *, grad_clip: float | None, grad_clip_by: str) -> Tensor | None:
    """Clip in place.

    Args:
        gradients: parameter to gradient.
        grad_clip: the limit c; None clips nothing.
        grad_clip_by: ``"value"`` (each element to ±c), ``"norm"`` (each tensor's L2 norm to c) or ``"global_norm"``
            (the joint L2 norm to c).

    Returns:
        The joint norm before clipping for ``"global_norm"``, else None.

    Raises:
        ConfigError: ``grad_clip_by`` is none of these.
    """
    if grad_clip_by not in CLIP_KINDS:
        raise ConfigError(f"grad_clip_by={grad_clip_by!r}: expected one of {', '.join(CLIP_KINDS)}")
    tensors = list(gradients.values())
    if not tensors:
        return None
    if grad_clip is None:
        return global_norm(tensors) if grad_clip_by == "global_norm" else None
    if grad_clip_by == "value":
        for tensor in tensors:
            tensor.clamp_(-grad_clip, grad_clip)
        return None
    if grad_clip_by == "norm":
        for tensor in tensors:
            tensor.mul_(_scale_to(torch.linalg.vector_norm(tensor), grad_clip))
        return None
    norm = global_norm(tensors)
    scale = _scale_to(norm, grad_clip)
    for tensor in tensors:
        tensor.mul_(scale)
    return norm


def _scale_to(norm: Tensor, limit: float) -> Tensor:
    """Factor that brings ``norm`` to at most ``limit``; exactly one where it is below it already."""
    return (limit / norm).clamp_(max=1.0)  # a norm of zero gives infinity, and so one
