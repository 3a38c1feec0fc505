"""n-step returns, cut where an episode ends.

Source of the maths: Sutton, "Learning to Predict by the Methods of Temporal Differences" (1988); in the form with a
discount that a replay buffer needs, Hessel et al., "Rainbow", https://arxiv.org/abs/1710.02298, equation 1 and the
n-step return of its section "Multi-step learning".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlkit_core.data.arrays import ArrayT, on_tensors
from rlkit_core.errors import ConfigError


class NStepReturns(NamedTuple):
    """What :func:`n_step_returns` gives, each ``[T, N]``.

    Attributes:
        rewards: discounted sum of the rewards of the steps used.
        discounts: what multiplies the value of the observation after the last step used: the product of the
            discounts of the steps used, 0 where that step terminated.
        steps: int64, how many steps are used, in ``[1, n]``.
        last: int64, row of the last step used, ``t + steps - 1``. The observation to bootstrap from is the one after
            it: row ``last + 1``, the rollout's ``bootstrap_obs`` where that is T, the final observation where the step
            was truncated and the env reset in the same step.
        returns: ``rewards + discounts * value of that observation``; None where no values were given.
    """

    rewards: Any
    discounts: Any
    steps: Any
    last: Any
    returns: Any


def n_step_returns(
    rewards: ArrayT,
    discounts: ArrayT,
    n: int,
    truncateds: ArrayT | None = None,
    *,
    values: ArrayT | None = None,
    bootstrap_value: ArrayT | None = None,
    final_values: ArrayT | None = None,
) -> NStepReturns:
    """Sum up to ``n`` rewards from every step of a time-major rollout.

    With ``r_t`` the reward of step t, ``g_t`` its discount and ``v_t`` the value of the observation after it::

        G_t = r_t + g_t r_{t+1} + ... + (g_t ... g_{t+m-2}) r_{t+m-1} + (g_t ... g_{t+m-1}) v_{t+m-1},   m <= n

    ``m`` is ``n``, or less where the episode ends earlier or the rollout does. A terminated step has discount 0, so
    nothing follows it. A truncated one keeps its discount: it is bootstrapped, from ``final_values`` where the env
    resets in the same step, or from ``values[t + 1]`` where the next row still holds the final observation (next-step
    reset; the caller masks that row). Costs n whole-array operations, no loop over time.

    Args:
        rewards: ``[T, N]`` float, ``r_t``.
        discounts: ``[T, N]`` float, ``gamma * (1 - terminated)``; 0 ends an episode.
        n: largest number of steps, at least 1.
        truncateds: ``[T, N]`` bool, or None: none.
        values: ``[T, N]`` float, value of the observation acted on; with ``bootstrap_value``, asks for ``returns``.
        bootstrap_value: ``[N]`` float, value of the observation after the last step.
        final_values: ``[T, N]`` float, value of the final observation where truncated (ignored elsewhere), or None.

    Returns:
        An :class:`NStepReturns`; tensors for tensors, arrays for arrays.

    Raises:
        ConfigError: ``n`` is less than 1, or only one of ``values`` and ``bootstrap_value`` is given.
    """
    if n < 1:
        raise ConfigError(f"n_step_returns: n={n}: expected at least 1")
    if (values is None) != (bootstrap_value is None):
        raise ConfigError("n_step_returns: give values[T, N] and bootstrap_value[N] together, or neither")
    arrays = (rewards, discounts, truncateds, values, bootstrap_value, final_values)
    return NStepReturns(*on_tensors(_n_step_returns, *arrays, n=n))


def _n_step_returns(
    r_t: Tensor,
    discount_t: Tensor,
    truncateds: Tensor | None,
    values: Tensor | None,
    bootstrap_value: Tensor | None,
    final_values: Tensor | None,
    *,
    n: int,
) -> tuple[Tensor | None, ...]:
    num_steps = r_t.shape[0]
    goes_on_t = discount_t != 0
    if truncateds is not None:
        goes_on_t = goes_on_t & ~truncateds.bool()
    total_t, product_t = r_t.clone(), discount_t.clone()
    steps_t = torch.ones(r_t.shape, dtype=torch.int64, device=r_t.device)
    uses_t = goes_on_t
    for k in range(1, min(n, num_steps)):
        # Row t uses step t + k if it uses all before and step t + k - 1 did not end the episode.
        uses_t = goes_on_t[:-1] if k == 1 else uses_t[:-1] & goes_on_t[k - 1 : -1]
        product = product_t[:-k]
        total_t[:-k] += torch.where(uses_t, product * r_t[k:], 0.0)
        product_t[:-k] = torch.where(uses_t, product * discount_t[k:], product)
        steps_t[:-k] += uses_t
    rows = torch.arange(num_steps, device=r_t.device).view(-1, *(1,) * (r_t.dim() - 1))
    last_t = rows + steps_t - 1
    if values is None or bootstrap_value is None:
        return total_t, product_t, steps_t, last_t, None
    v_t = torch.cat((values[1:], bootstrap_value.unsqueeze(0)))
    if final_values is not None and truncateds is not None:
        v_t = torch.where(truncateds.bool(), final_values, v_t)
    return total_t, product_t, steps_t, last_t, torch.addcmul(total_t, product_t, v_t.gather(0, last_t))
