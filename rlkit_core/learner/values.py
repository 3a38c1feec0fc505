"""Values of a whole rollout, in batched calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested, cat, first_leaf, flatten_time, slice_rows
from rlkit_core.data.rollout import Rollout

MAX_ROWS = 8192


@torch.no_grad()
def values_of_rollout(module: Any, rollout: Rollout) -> tuple[Tensor, Tensor, Tensor | None]:
    """State values of every observation of a rollout.

    Args:
        module: implements ``ValueFunctionAPI``.
        rollout: of that module.

    Returns:
        ``values [T, N]``, ``last_value [N]`` of the observation after the last step, and ``final_values [T, N]``, which
        holds the value of the final observation where a step was truncated and reset at once (zero elsewhere); None
        where the rollout has no final observations.
    """
    num_steps, num_envs = rollout.num_steps, rollout.num_envs
    values = _values(module, flatten_time(rollout[Columns.OBS])).view(num_steps, num_envs)
    if rollout.final_obs is None or rollout.final_index is None:
        return values, _values(module, rollout.bootstrap_obs), None
    both = _values(module, cat([rollout.bootstrap_obs, rollout.final_obs]))
    final_values = torch.zeros(num_steps * num_envs, dtype=values.dtype, device=values.device)
    final_values[rollout.final_index] = both[num_envs:]
    return values, both[:num_envs], final_values.view(num_steps, num_envs)


def _values(module: Any, obs: Nested) -> Tensor:
    rows = int(first_leaf(obs).shape[0])
    parts = [
        module.compute_values({Columns.OBS: slice_rows(obs, start, min(start + MAX_ROWS, rows))})
        for start in range(0, rows, MAX_ROWS)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
