"""Train batches in which the steps of a trajectory follow each other, so that the loss can compute V-trace itself.

V-trace asks for the probabilities and values of the weights that are being trained, which the loss has at hand. So it
runs there, over the flattened rows of a batch as one long trajectory that is cut (:data:`CUTS`) wherever the next row
is not what happened next. What happened next at a cut is known in one of two ways:

- rows of a feed-forward module: its value is in the batch (:data:`BOOTSTRAP_VALUES`), from a forward pass over
  those few observations;
- sequences of a recurrent module have one step more, a masked one with the observation that followed, so its value
  comes out of the same forward pass.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
import torch
from torch import Tensor

from rlkit_core import Columns
from rlkit_core.data import Rollout
from rlkit_core.data.nested import Nested, cat, map_leaves
from rlkit_core.learner import ChunkLayout, values_of_rollout

#: ``gamma``, and 0 where the step terminated its episode.
DISCOUNTS: Final = "discounts"
#: Bool: the trace ends with this step, and the value of what followed is bootstrapped.
CUTS: Final = "cuts"
#: The value of what followed a cut; anything elsewhere.
BOOTSTRAP_VALUES: Final = "bootstrap_values"
#: Columns of a rollout that no loss here reads.
_UNREAD = frozenset(
    {
        Columns.TERMINATEDS,
        Columns.TRUNCATEDS,
        Columns.ACTION_DIST_INPUTS,
        Columns.ACTION_PROB,
        Columns.EMBEDDINGS,
    }
)


def trajectory_batch(module: Any, rollout: Rollout, gamma: float) -> dict[str, Nested]:
    """A rollout ``[T, N]`` as the loss wants it.

    Args:
        module: the module, unwrapped.
        rollout: of that module.
        gamma: the discount.

    Returns:
        Rows ``[N * T, ...]``, env by env, or sequences ``[B, L + 1, ...]`` of a recurrent module, with
        :data:`DISCOUNTS` and :data:`CUTS`.
    """
    columns = {name: column for name, column in rollout.columns.items() if name not in _UNREAD}
    columns[DISCOUNTS] = (~rollout[Columns.TERMINATEDS]).to(torch.float32) * gamma
    if rollout.state_in is not None:
        columns[CUTS] = rollout[Columns.TRUNCATEDS]
        return _sequences(module, rollout, columns)
    cuts = rollout[Columns.TRUNCATEDS].clone()
    cuts[-1] = True
    columns[CUTS], columns[BOOTSTRAP_VALUES] = cuts, _following_values(module, rollout)
    if rollout.loss_mask is not None:
        columns[Columns.LOSS_MASK] = rollout.loss_mask
    return {name: map_leaves(lambda x: x.transpose(0, 1).flatten(0, 1), column) for name, column in columns.items()}


def _following_values(module: Any, rollout: Rollout) -> Tensor:
    """``[T, N]``: the value of what followed truncated steps, and the last ones; anything elsewhere."""
    if rollout.loss_mask is not None:  # a next-step reset: what followed is in the next row
        values, last_value, final_values = values_of_rollout(module, rollout)
        following = torch.cat((values[1:], last_value.unsqueeze(0)))
        if final_values is not None and rollout.final_index is not None:
            at = rollout.final_index
            following.view(-1)[at] = final_values.view(-1)[at]
        return following
    inputs, finals = rollout.bootstrap_columns, rollout.final_columns
    if finals:
        inputs = {name: cat([inputs[name], finals[name]]) for name in inputs}
    with torch.no_grad():
        values = module.compute_values(inputs)
    following = values.new_zeros(rollout.num_steps, rollout.num_envs)
    following[-1] = values[: rollout.num_envs]
    if rollout.final_index is not None:
        following.view(-1)[rollout.final_index] = values[rollout.num_envs :]
    return following


def _sequences(module: Any, rollout: Rollout, columns: dict[str, Nested]) -> dict[str, Nested]:
    """Chunks of a recurrent module's rollout, each with the observation that followed it as one more, masked step."""
    layout = ChunkLayout.of(rollout)
    last = layout.rows.gather(1, layout.lengths.unsqueeze(-1) - 1).squeeze(-1)
    follow = torch.where(layout.follow == last, last + rollout.num_envs, layout.follow)  # of every chunk
    layout = attrs.evolve(layout, follow=follow)
    longer = attrs.evolve(layout, rows=torch.cat((layout.rows, layout.rows[:, -1:]), 1))
    batch = {name: longer.gather(column) for name, column in columns.items() if name != Columns.OBS}
    finals = rollout.final_columns
    for name, bootstrap in rollout.bootstrap_columns.items():
        batch[name] = layout.gather_with_next(columns[name], bootstrap, finals.get(name))
    mask = layout.real
    if rollout.loss_mask is not None:
        mask = mask & layout.gather(rollout.loss_mask)
    batch[Columns.LOSS_MASK] = torch.cat((mask, torch.zeros_like(mask[:, :1])), 1)
    batch[CUTS].scatter_(1, layout.lengths.unsqueeze(-1) - 1, True)
    batch[Columns.SEQ_LENS] = layout.lengths
    batch[Columns.STATE_IN] = layout.state(rollout.state_in, module.get_initial_state())
    return batch
