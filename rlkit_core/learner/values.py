"""Values of a whole rollout, in batched calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested, cat, first_leaf, flatten_time, leaves, slice_rows
from rlkit_core.data.rollout import Rollout
from rlkit_core.data.sequences import ChunkLayout

if TYPE_CHECKING:
    from rlkit_core.rl_module import RLModule

MAX_ROWS = 8192
#: Numbers in the observations of one call: images in pieces that stay in the caches are a quarter faster.
MAX_NUMBERS = 2**21


@torch.no_grad()
def values_of_rollout(
    module: Any, rollout: Rollout, *, same_weights: bool = False
) -> tuple[Tensor, Tensor, Tensor | None]:
    """State values of every observation of a rollout.

    A recurrent module (a rollout with ``state_in``) gets sequences, each with the observation that followed its last
    step, so every value is that of the state in which the module would have been.

    Args:
        module: implements ``ValueFunctionAPI``.
        rollout: of that module.
        same_weights: the module has the weights that acted; ``embeddings`` in the rollout are then used.

    Returns:
        ``values [T, N]``, ``last_value [N]`` of the observation after the last step, and ``final_values [T, N]``, which
        holds the value of the final observation where a step has one; None where the rollout has no final observations.
        Elsewhere it is zero, or, in a rollout with masked rows, the value of the next row: what truncated steps without
        a final observation ask for. Of a recurrent module, ``last_value`` means nothing where the last step ended its
        episode.
    """
    if rollout.state_in is not None:
        return _sequence_values(module, rollout)
    num_steps, num_envs = rollout.num_steps, rollout.num_envs
    after = rollout.bootstrap_columns
    steps = {name: flatten_time(rollout[name]) for name in after}
    if same_weights and Columns.EMBEDDINGS in rollout:
        values = module.compute_values(steps, embeddings=flatten_time(rollout[Columns.EMBEDDINGS]))
    else:
        values = _values(module, steps)
    values = values.view(num_steps, num_envs)
    if rollout.final_index is None:
        return values, _values(module, after), None
    finals = rollout.final_columns
    both = _values(module, {name: cat([after[name], finals[name]]) for name in after})
    final_values = _before_finals(rollout, values, both[:num_envs])
    final_values[rollout.final_index] = both[num_envs:]
    return values, both[:num_envs], final_values.view(num_steps, num_envs)


def _sequence_values(module: RLModule, rollout: Rollout) -> tuple[Tensor, Tensor, Tensor | None]:
    layout = ChunkLayout.of(rollout)
    finals = rollout.final_columns
    batch = {
        name: layout.gather_with_next(rollout[name], after, finals.get(name))
        for name, after in rollout.bootstrap_columns.items()
    }
    batch[Columns.STATE_IN] = layout.state(rollout.state_in, module.get_initial_state())
    values = _values(module, batch).reshape(-1)
    of_steps, last_value = values[layout.place], values[layout.place[-1] + 1]
    if rollout.final_index is None:
        return of_steps, last_value, None
    final_values = _before_finals(rollout, of_steps, last_value)
    final_values[rollout.final_index] = values[layout.place.reshape(-1)[rollout.final_index] + 1]
    return of_steps, last_value, final_values.view_as(of_steps)


def _before_finals(rollout: Rollout, values: Tensor, last_value: Tensor) -> Tensor:
    """``[T * N]``: what final values are where there is no final observation."""
    if rollout.loss_mask is None:
        return torch.zeros_like(values).view(-1)
    return torch.cat((values[1:], last_value.unsqueeze(0))).view(-1)


def _values(module: Any, batch: dict[str, Nested]) -> Tensor:
    rows = int(first_leaf(batch[Columns.OBS]).shape[0])
    numbers = sum(leaf.numel() for leaf in leaves(batch[Columns.OBS])) // max(1, rows)
    max_rows = max(1, min(MAX_ROWS, MAX_NUMBERS // max(1, numbers)))
    if rows <= max_rows:
        result: Tensor = module.compute_values(batch)
        return result
    parts = [
        module.compute_values({name: slice_rows(c, start, min(start + max_rows, rows)) for name, c in batch.items()})
        for start in range(0, rows, max_rows)
    ]
    return torch.cat(parts)
