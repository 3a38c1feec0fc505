"""Projection of a categorical distribution onto a fixed support.

Source of the maths: Bellemare, Dabney and Munos, "A Distributional Perspective on Reinforcement Learning",
https://arxiv.org/abs/1707.06887, equation 7 and algorithm 1.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from rlkit_core.errors import ConfigError


@overload
def categorical_projection(z_p: Tensor, probs: Tensor, z_q: Tensor) -> Tensor: ...
@overload
def categorical_projection(
    z_p: np.ndarray[Any, Any], probs: np.ndarray[Any, Any], z_q: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]: ...
def categorical_projection(z_p: Any, probs: Any, z_q: Any) -> Any:
    """Move the mass of atoms ``z_p`` onto the support ``z_q``, each atom's to its two neighbours, linearly.

    An atom that lies on the support moves as a whole; one outside of it is clipped to its ends. Each row keeps its
    mass. Only the mean of what lies inside is kept, as in the source.

    Args:
        z_p: ``[B, M]`` or ``[M]`` float, the atoms, e.g. ``r + gamma ** n * (1 - terminated) * z``, in any order.
        probs: ``[B, M]`` float, their probabilities.
        z_q: ``[K]`` float, the support, strictly ascending from v_min to v_max; it need not be evenly spaced.

    Returns:
        ``[B, K]`` probabilities, of the dtype of ``probs``; a tensor for tensors, an array for arrays.

    Raises:
        ConfigError: the support has less than two atoms.
    """
    if not isinstance(probs, Tensor):
        tensors = [torch.from_numpy(np.ascontiguousarray(x)) for x in (z_p, probs, z_q)]
        return categorical_projection(*tensors).numpy()
    atoms = z_q.shape[0]
    if atoms < 2:
        raise ConfigError(f"categorical_projection: the support z_q has {atoms} atoms; expected at least 2")
    z = torch.maximum(torch.minimum(z_p, z_q[-1]), z_q[0]).expand_as(probs).contiguous()
    # The interval [z_q[lower], z_q[lower + 1]] that an atom is in; v_max belongs to the last one.
    lower = torch.searchsorted(z_q, z, right=True).sub_(1).clamp_(0, atoms - 2)
    left, right = z_q[:-1][lower], z_q[1:][lower]
    share = ((z - left) / (right - left)).to(probs.dtype)
    up = probs * share
    projected = torch.zeros((*probs.shape[:-1], atoms), dtype=probs.dtype, device=probs.device)
    projected.scatter_add_(-1, lower, probs - up)
    return projected.scatter_add_(-1, lower + 1, up)
