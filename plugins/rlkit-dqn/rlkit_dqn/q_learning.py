"""The maths of Q-learning as functions of tensors.

Leading axes ``[...]`` are ``[B]``, or ``[B, L]`` of sequences; there are A actions and K atoms.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rlkit_core.data import categorical_projection


def dueling_q(values: Tensor, advantages: Tensor, action_axis: int = -1) -> Tensor:
    """``Q(s, a) = V(s) + A(s, a) - mean_a' A(s, a')``, equation 9 of Wang et al., https://arxiv.org/abs/1511.06581.

    Args:
        values: ``[..., 1]``; of logits over atoms ``[..., 1, K]``, so that each atom has a value stream of its own.
        advantages: ``[..., A]``; ``[..., A, K]`` of logits, with ``action_axis=-2``.
        action_axis: the axis of actions.
    """
    return values + (advantages - advantages.mean(action_axis, keepdim=True))


def choose(q: Tensor, index: Tensor) -> Tensor:
    """``q[..., index]``: ``[..., A]`` or ``[..., A, K]`` and ``[...]`` int64 give ``[...]`` or ``[..., K]``."""
    if q.dim() == index.dim() + 1:
        return q.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    where = index.unsqueeze(-1).unsqueeze(-1).expand(*index.shape, 1, q.shape[-1])
    return q.gather(-2, where).squeeze(-2)


def next_actions(target_next_q: Tensor, online_next_q: Tensor | None = None) -> Tensor:
    """The actions ``[...]`` whose value bootstraps a target.

    The best by the target network (Mnih et al. 2015, https://doi.org/10.1038/nature14236), or, where the online
    network's values are given, by that one: double Q-learning, van Hasselt et al., https://arxiv.org/abs/1509.06461,
    equation 4. Values of actions that are not allowed must be the lowest there are.
    """
    return (target_next_q if online_next_q is None else online_next_q).argmax(-1)


def td_targets(
    rewards: Tensor, discounts: Tensor, target_next_q: Tensor, online_next_q: Tensor | None = None
) -> Tensor:
    """``y = R + discount * Q_target(s', a*)``, ``[...]``; see :func:`next_actions` for ``a*``.

    Args:
        rewards: ``[...]``, the n-step sum ``r_1 + gamma r_2 + ...``.
        discounts: ``[...]``, ``gamma^n``, and 0 where the episode terminated within these steps.
        target_next_q: ``[..., A]``.
        online_next_q: ``[..., A]``, or None.
    """
    if online_next_q is None:
        bootstrap = target_next_q.amax(-1)
    else:
        bootstrap = choose(target_next_q, next_actions(target_next_q, online_next_q))
    return torch.addcmul(rewards, discounts, bootstrap)


def td_loss(predictions: Tensor, targets: Tensor, kind: str, reduction: str = "none") -> Tensor:
    """Loss of each row ``[...]``: ``'mse'`` is the squared error, ``'huber'`` its half within 1 and linear beyond.

    ``reduction="mean"`` gives the mean over all rows at once, in one operation.
    """
    function = F.huber_loss if kind == "huber" else F.mse_loss
    return function(predictions, targets, reduction=reduction)


def atoms_of(v_min: float, v_max: float, num_atoms: int) -> Tensor:
    """The support ``z``, ``[K]``."""
    return torch.linspace(v_min, v_max, num_atoms)


def categorical_targets(rewards: Tensor, discounts: Tensor, next_probs: Tensor, atoms: Tensor) -> Tensor:
    """``Phi T z``, ``[..., K]``: the distribution of ``R + discount * z`` on the support.

    Algorithm 1 of Bellemare et al., https://arxiv.org/abs/1707.06887.

    Args:
        rewards: ``[...]``.
        discounts: ``[...]``.
        next_probs: ``[..., K]``, of the action that bootstraps.
        atoms: ``[K]``.
    """
    moved = rewards.unsqueeze(-1) + discounts.unsqueeze(-1) * atoms
    flat = categorical_projection(moved.flatten(0, -2), next_probs.flatten(0, -2), atoms)
    return flat.view(next_probs.shape)


def categorical_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each row, and how far it is above the targets' entropy, ``KL(targets || prediction)``.

    The loss is that of algorithm 1 of Bellemare et al.; the divergence is what Rainbow takes as priority (Hessel et
    al., https://arxiv.org/abs/1710.02298).

    Args:
        logits: ``[..., K]``, of the action taken.
        targets: ``[..., K]`` probabilities.
    """
    loss = -(targets * torch.log_softmax(logits, -1)).sum(-1)
    return loss, loss + torch.special.xlogy(targets, targets).sum(-1)


def at_steps(values: Tensor, steps: Tensor) -> Tensor:
    """``values[b, steps[b, t]]``: ``[B, T, ...]`` and ``[B, L]`` int64 give ``[B, L, ...]``."""
    more = values.shape[2:]
    return values.gather(1, steps.view(*steps.shape, *(1,) * len(more)).expand(*steps.shape, *more))
