"""The steps of an acting loop as a rollout: log-probabilities, final observations, and what memory a learner needs."""

from __future__ import annotations

import torch
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.nested import flatten_time, index_rows, stack
from rlkit_core.data.rollout import Rollout
from rlkit_core.envs.acting_loop import ActingLoop, Steps
from rlkit_core.envs.memory import ActingMemory, Bools
from rlkit_core.models.base import PREV_ACTIONS, PREV_REWARDS


def make_rollout(
    loop: ActingLoop, steps: Steps, rewards: Tensor, loss_mask: Bools | None, weights_version: int
) -> Rollout:
    """Steps as a learner wants them, in the buffers' memory.

    Args:
        loop: who acted.
        steps: what :meth:`ActingLoop.act` returned last.
        rewards: ``[T, N]``, as they are learned from.
        loss_mask: ``[T, N]`` bool, False for steps that are not learned from; None: all are.
        weights_version: of the weights that acted.
    """
    buffers, columns = steps.buffers, steps.columns
    dist_inputs = columns.get(Columns.ACTION_DIST_INPUTS)
    if dist_inputs is not None and Columns.ACTION_LOGP not in columns:
        dist_cls = loop.module.get_exploration_action_dist_cls()
        with torch.no_grad():
            logp = dist_cls.from_logits(dist_inputs).logp(columns[Columns.ACTIONS])
        columns[Columns.ACTION_LOGP], columns[Columns.ACTION_PROB] = logp, logp.exp()
    obs, bootstrap_obs = buffers.obs_steps, buffers.obs_inputs[-1]
    final_obs, final_index = loop.final_rows(steps) or (None, None)
    if loop.packer is not None:
        parts = [obs, bootstrap_obs, *([] if final_obs is None else [final_obs])]
        obs, bootstrap_obs, *rest = loop.packer.together(parts)
        final_obs = rest[0] if rest else None
    rollout = Rollout(
        columns={
            Columns.OBS: obs,
            **columns,
            Columns.REWARDS: rewards,
            Columns.TERMINATEDS: buffers.terminateds_tensor,
            Columns.TRUNCATEDS: buffers.truncateds_tensor,
        },
        bootstrap_obs=bootstrap_obs,
        final_obs=final_obs,
        final_index=final_index,
        loss_mask=None if loss_mask is None else torch.from_numpy(loss_mask).to(buffers.device),
        weights_version=weights_version,
        fresh_start=steps.fresh_start is not None,
    )
    if loop.memory is not None:
        _add_memory(rollout, loop, steps, loop.memory)
    return rollout


def _add_memory(rollout: Rollout, loop: ActingLoop, steps: Steps, memory: ActingMemory) -> None:
    """What the learner needs to see a rollout as the module saw it."""
    if loop.seq_len is not None:
        # The row after an episode's last: after its end, or after the row that shows the final observation.
        last = torch.from_numpy(steps.over).to(steps.buffers.device)
        if not loop.env.same_step_reset:
            assert rollout.loss_mask is not None
            last = ~rollout.loss_mask
        rollout.state_in = stack(steps.states)
        rollout.seq_len = loop.seq_len
        rollout.episode_starts = torch.cat((torch.zeros_like(last[:1]), last[:-1]))
    rollout.bootstrap_inputs = {name: memory.copied(name) for name in memory.previous}
    if rollout.final_index is not None:
        done_at = {
            PREV_ACTIONS: rollout[Columns.ACTIONS],
            PREV_REWARDS: steps.buffers.rewards_tensor,
        }
        at = rollout.final_index
        rollout.final_inputs = {name: index_rows(flatten_time(done_at[name]), at) for name in memory.previous}
