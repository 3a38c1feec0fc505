"""V-trace: value targets and advantages from experience of a policy that is not quite the one being trained.

Source of the maths: Espeholt et al., "IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner
Architectures", https://arxiv.org/abs/1802.01561, equation 1, remark 1 (its recursive form) and section 4.2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlkit_core.data.arrays import ArrayT, on_tensors
from rlkit_core.data.gae import discounted_suffix_sum


def vtrace(
    behaviour_logp: ArrayT,
    target_logp: ArrayT,
    rewards: ArrayT,
    values: ArrayT,
    bootstrap_value: ArrayT,
    discounts: ArrayT,
    clip_rho: float = 1.0,
    clip_c: float = 1.0,
    clip_pg_rho: float = 1.0,
    truncateds: ArrayT | None = None,
    final_values: ArrayT | None = None,
) -> tuple[ArrayT, ArrayT]:
    """Value targets ``v_s`` (equation 1) and the advantages of the policy gradient (section 4.2).

    With ``rho_t = pi(a_t) / mu(a_t)`` and ``delta_t = min(clip_rho, rho_t) (r_t + discount_t V_{t+1} - V_t)``::

        v_t - V_t = delta_t + discount_t min(clip_c, rho_t) (v_{t+1} - V_{t+1})
        advantage_t = min(clip_pg_rho, rho_t) (r_t + discount_t v_{t+1} - V_t)

    A truncated step is bootstrapped and ends the trace, exactly as :func:`~rlkit_core.data.gae` does it: ``v_{t+1}`` is
    ``final_values[t]`` where the env resets in the same step, or ``values[t + 1]`` where the next row still holds the
    final observation (the caller masks that reset row out of the loss). A terminated step has ``discounts`` 0. On
    policy and with clips of at least 1, ``v_t`` is the n-step return up to the trace's end.

    Nothing here is differentiated; the result is a constant to autograd.

    Args:
        behaviour_logp: ``[T, N]`` float, log-probability of the action under the policy ``mu`` that acted.
        target_logp: ``[T, N]`` float, under the policy ``pi`` that is evaluated.
        rewards: ``[T, N]`` float.
        values: ``[T, N]`` float, ``V`` of the observation acted on.
        bootstrap_value: ``[N]`` float, ``V`` of the observation after the last step.
        discounts: ``[T, N]`` float, ``gamma``, and 0 where the step terminated its episode.
        clip_rho: the paper's rho-bar, which decides whose values are learned: small ones are closer to ``mu``'s.
        clip_c: the paper's c-bar, how far corrections reach back.
        clip_pg_rho: bound on the weight of the policy gradient.
        truncateds: ``[T, N]`` bool, or None where nothing is truncated.
        final_values: ``[T, N]`` float, value of the final observation where truncated (ignored elsewhere), or None.

    ``[T]`` with a 0-dim ``bootstrap_value``, or more axes behind ``N``, will do as well. Clips may be infinite.

    Returns:
        ``(vs, pg_advantages)``, both of the shape of ``values``; tensors for tensors, arrays for arrays.
    """
    arrays = (behaviour_logp, target_logp, rewards, values, bootstrap_value, discounts, truncateds, final_values)
    with torch.no_grad():
        vs, advantages = on_tensors(_vtrace, *arrays, clip_rho=clip_rho, clip_c=clip_c, clip_pg_rho=clip_pg_rho)
    return vs, advantages


def _vtrace(
    behaviour_logp: Tensor,
    target_logp: Tensor,
    rewards: Tensor,
    values: Tensor,
    bootstrap_value: Tensor,
    discounts: Tensor,
    truncateds: Tensor | None,
    final_values: Tensor | None,
    *,
    clip_rho: float,
    clip_c: float,
    clip_pg_rho: float,
) -> tuple[Tensor, Tensor]:
    rho_t = torch.exp(target_logp - behaviour_logp)
    next_values = _shifted(values, bootstrap_value)
    decay_t = discounts * rho_t.clamp(max=clip_c)
    if truncateds is not None:
        truncateds = truncateds.bool()
        if final_values is not None:
            next_values = torch.where(truncateds, final_values, next_values)
        decay_t = decay_t.masked_fill(truncateds, 0.0)
    clipped_rho_t = rho_t.clamp(max=clip_rho)
    delta_t = clipped_rho_t * (torch.addcmul(rewards, discounts, next_values) - values)
    corrections = discounted_suffix_sum(delta_t, decay_t)
    vs = corrections + values
    next_vs = _shifted(vs, bootstrap_value)
    if truncateds is not None:
        next_vs = torch.where(truncateds, next_values, next_vs)
    weights = clipped_rho_t if clip_pg_rho == clip_rho else rho_t.clamp(max=clip_pg_rho)
    advantages = weights * (torch.addcmul(rewards, discounts, next_vs) - values)
    return vs, advantages


def _shifted(x_t: Tensor, last: Tensor) -> Tensor:
    """``x_{t+1}``, with ``last`` behind the last row."""
    return torch.cat((x_t[1:], last.unsqueeze(0)))
