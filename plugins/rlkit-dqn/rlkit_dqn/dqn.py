"""Deep Q-networks and their extensions up to Rainbow.

Mnih et al., "Human-level control through deep reinforcement learning" (2015), https://doi.org/10.1038/nature14236;
Hessel et al., "Rainbow", https://arxiv.org/abs/1710.02298.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from rlkit_core import Columns
from rlkit_core.apis import QNetAPI, TargetNetworkAPI
from rlkit_core.learner import TorchLearner, masked_mean
from rlkit_dqn.q_learning import (
    categorical_loss,
    categorical_targets,
    choose,
    next_actions,
    td_loss,
    td_targets,
)
from rlkit_dqn.rl_module import (
    ATOMS,
    QF_LOGITS,
    QF_NEXT_PREDS,
    QF_PREDS,
    QF_TARGET_NEXT_PREDS,
    QF_TARGET_NEXT_PROBS,
)
from rlkit_offpolicy import DISCOUNT, TD_ERROR, WEIGHTS, OffPolicyAlgorithm, ReplayBuffer, sequence_priorities


class DQN(OffPolicyAlgorithm):
    """Deep Q-learning from a replay buffer; see :class:`~rlkit_offpolicy.OffPolicyAlgorithm`."""

    def sample_batch(self, buffer: ReplayBuffer, module_id: str, num_updates: int) -> dict[str, Any]:
        """As of every off-policy algorithm, without ``terminateds``: ``discount`` is 0 there."""
        batch = super().sample_batch(buffer, module_id, num_updates)
        batch.pop(Columns.TERMINATEDS, None)
        return batch


class DQNTorchLearner(TorchLearner):
    """DQN's loss."""

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """DQN needs Q values and target networks."""
        return [QNetAPI, TargetNetworkAPI]

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """``E[w * loss(Q(s, a), R + discount * Q_target(s', a*))]``, or cross-entropy of return distributions.

        ``w`` are importance weights (Schaul et al., https://arxiv.org/abs/1511.05952, section 3.4), where the batch has
        some, and the rows' errors then become the priorities of the replay buffer; see :mod:`rlkit_dqn.q_learning` for
        the rest.
        """
        rewards, discounts, mask = batch[Columns.REWARDS], batch[DISCOUNT], batch.get(Columns.LOSS_MASK)
        table = self.module[module_id].unwrapped().table
        actions = table.index(batch[Columns.ACTIONS])
        online_next = fwd_out.get(QF_NEXT_PREDS)
        q_taken = choose(fwd_out[QF_PREDS], actions)
        q_logged = q_taken.detach()
        plain = mask is None and WEIGHTS not in batch and ATOMS not in fwd_out
        if ATOMS in fwd_out:
            best = next_actions(fwd_out[QF_TARGET_NEXT_PREDS], online_next)
            next_probs = choose(fwd_out[QF_TARGET_NEXT_PROBS], best)
            targets = categorical_targets(rewards, discounts, next_probs, fwd_out[ATOMS])
            losses, errors = categorical_loss(choose(fwd_out[QF_LOGITS], actions), targets)
        else:
            targets = td_targets(rewards, discounts, fwd_out[QF_TARGET_NEXT_PREDS], online_next)
        if plain:  # means over all rows alike are one operation each
            loss = td_loss(q_taken, targets, config.td_error_loss_fn, reduction="mean")
            td_error_mean = F.l1_loss(q_logged, targets)
        else:
            if ATOMS not in fwd_out:
                losses = td_loss(q_taken, targets, config.td_error_loss_fn)
                errors = q_logged - targets
            errors = errors.detach().abs()
            if WEIGHTS in batch:
                losses = losses * batch[WEIGHTS]
                rows = errors if mask is None else sequence_priorities(errors, mask)
                self.log_rows(module_id, TD_ERROR, rows)
            loss, td_error_mean = masked_mean(losses, mask), masked_mean(errors, mask)
        self.metrics.log_dict(
            {"qf_loss": loss, "qf_mean": masked_mean(q_logged, mask), "td_error_mean": td_error_mean},
            key=module_id,
        )
        self._log_range(module_id, q_logged, mask)
        return loss

    def _log_range(self, module_id: str, q: Tensor, mask: Tensor | None) -> None:
        """Log the lowest and highest value of an action taken."""
        if mask is None:
            low, high = q.aminmax()
        else:
            low, high = q.masked_fill(~mask, float("inf")).amin(), q.masked_fill(~mask, -float("inf")).amax()
        self.metrics.log_value((module_id, "qf_min"), low, reduce="min")
        self.metrics.log_value((module_id, "qf_max"), high, reduce="max")
