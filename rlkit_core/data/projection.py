"""Projection of a categorical distribution onto a fixed support.

Source of the maths: Bellemare, Dabney and Munos, "A Distributional Perspective on Reinforcement Learning",
https://arxiv.org/abs/1707.06887, equation 7 and algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlkit_core.data.arrays import ArrayT, on_tensors
from rlkit_core.errors import ConfigError


def categorical_projection(z_p: ArrayT, probs: ArrayT, z_q: ArrayT) -> ArrayT:
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
    projected: ArrayT = on_tensors(_projected, z_p, probs, z_q)
    return projected


def _projected(z_p: Tensor, probs: Tensor, z_q: Tensor) -> Tensor:
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
