"""Generalized advantage estimation, exact at terminations, truncations and rollout edges.

Source of the maths: Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage
Estimation", https://arxiv.org/abs/1506.02438, equation 16.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlkit_core.data.arrays import ArrayT, on_tensors


def discounted_suffix_sum(x_t: Tensor, decay_t: Tensor) -> Tensor:
    """Solve ``y_t = x_t + decay_t * y_{t+1}`` backwards in time, with ``y_T = 0``.

    A doubling scan: after k rounds every row holds the sum of its next ``2**k`` terms, so ``ceil(log2(T))`` whole-array
    steps replace ``T`` small ones.

    All three are ``[T, ...]`` float.
    """
    steps = x_t.shape[0]
    y = x_t.clone()
    if steps < 2:
        return y
    decay = decay_t.clone()
    span = 1
    while span < steps:
        # Row t covers [t, t + span); append row t + span, which covers the next span.
        y[:-span] += decay[:-span] * y[span:]
        if 2 * span < steps:
            decay[:-span] = decay[:-span] * decay[span:]
        span *= 2
    return y


def gae(
    rewards: ArrayT,
    values: ArrayT,
    last_value: ArrayT,
    terminateds: ArrayT,
    truncateds: ArrayT,
    final_values: ArrayT | None = None,
    gamma: float = 0.99,
    lambda_: float = 0.95,
) -> tuple[ArrayT, ArrayT]:
    """Advantages and value targets of a time-major rollout.

    A terminated step has no future. A truncated step does: its value is bootstrapped, from ``final_values`` where
    the env resets in the same step, or from ``values[t + 1]`` where the next row still holds the final observation
    (next-step reset mode; the caller masks that reset row out of the loss). Neither lets advantages flow across the
    episode's end.

    Args:
        rewards: ``[T, N]`` float.
        values: ``[T, N]`` float, value of the observation acted on.
        last_value: ``[N]`` float, value of the observation after the last step.
        terminateds: ``[T, N]`` bool.
        truncateds: ``[T, N]`` bool.
        final_values: ``[T, N]`` float, value of the final observation where truncated (ignored elsewhere), or None.
        gamma: discount, in [0, 1].
        lambda_: bias-variance trade-off, in [0, 1].

    Returns:
        ``(advantages, value_targets)``, both ``[T, N]`` and float; tensors for tensors, arrays for arrays.
    """
    arrays = (rewards, values, last_value, terminateds, truncateds, final_values)
    advantages, targets = on_tensors(_gae, *arrays, gamma=gamma, lambda_=lambda_)
    return advantages, targets


def _gae(
    rewards: Tensor,
    values: Tensor,
    last_value: Tensor,
    terminateds: Tensor,
    truncateds: Tensor,
    final_values: Tensor | None,
    *,
    gamma: float,
    lambda_: float,
) -> tuple[Tensor, Tensor]:
    next_values = torch.empty_like(values)
    next_values[:-1] = values[1:]
    next_values[-1] = last_value
    truncateds = truncateds.bool()
    if final_values is not None:
        next_values = torch.where(truncateds, final_values, next_values)
    continues = (~terminateds.bool()).to(values.dtype)
    delta_t = torch.addcmul(rewards - values, continues, next_values, value=gamma)
    decay_t = continues.masked_fill(truncateds, 0.0).mul_(gamma * lambda_)
    advantages = discounted_suffix_sum(delta_t, decay_t)
    return advantages, advantages + values
