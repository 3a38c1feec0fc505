"""Soft actor-critic with a learned temperature.

Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (2018), https://arxiv.org/abs/1812.05905. The training
loop is that of :class:`~rlkit_offpolicy.OffPolicyAlgorithm`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlkit_core import Columns
from rlkit_core.apis import QNetAPI, TargetNetworkAPI
from rlkit_core.learner import TorchLearner
from rlkit_offpolicy import DISCOUNT, TD_ERROR, WEIGHTS, OffPolicyAlgorithm
from rlkit_sac.rl_module import QF_PREDS, QF_TWIN_PREDS

ACTOR, CRITIC, ALPHA = "actor", "critic", "alpha"


class SAC(OffPolicyAlgorithm):
    """Soft actor-critic; see :class:`~rlkit_sac.SACConfig`."""


class SACTorchLearner(TorchLearner):
    """SAC's three losses, each with an optimizer of its own: ``actor``, ``critic``, ``alpha``."""

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """SAC needs Q values and target networks."""
        return [QNetAPI, TargetNetworkAPI]

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register an Adam for actor, critics and temperature each."""
        config = config or self.config_for(module_id)
        module = self.module[module_id].unwrapped()
        critics = [*module.qf.parameters(), *(() if module.qf_twin is None else module.qf_twin.parameters())]
        of_critics = {id(parameter) for parameter in (*critics, module.log_alpha)}
        actor = [parameter for parameter in self.get_parameters(module) if id(parameter) not in of_critics]
        rates = {ACTOR: config.actor_lr, CRITIC: config.critic_lr, ALPHA: config.alpha_lr}
        for name, params in ((ACTOR, actor), (CRITIC, critics), (ALPHA, [module.log_alpha])):
            self.register_optimizer(
                module_id=module_id, optimizer_name=name, params=params, lr_or_lr_schedule=rates[name]
            )

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> dict[str, Tensor]:
        """The losses of the paper, equations 5, 9 and 18, by optimizer.

        ``critic``: ``E[w * 0.5 (Q_i(s, a) - R - discount * (min Q_target(s', a') - alpha log pi(a'|s')))^2]``, summed
        over both critics, with importance weights ``w`` where the batch has some (the rows' errors then become the
        replay buffer's priorities); ``actor``: ``E[alpha log pi(a|s) - min Q(s, a)]``; ``alpha``:
        ``-E[log alpha * (log pi(a|s) + target entropy)]``. ``a`` and ``a'`` are drawn anew.
        """
        module = self.module[module_id].unwrapped()
        alpha = module.log_alpha.detach().exp()
        with torch.no_grad():
            soft_value = fwd_out["next_q"] - alpha * fwd_out["next_logp"]
            targets = batch[Columns.REWARDS] + batch[DISCOUNT] * soft_value
        errors = [fwd_out[name] - targets for name in (QF_PREDS, QF_TWIN_PREDS) if name in fwd_out]
        squares = errors[0].square() if len(errors) == 1 else errors[0].square() + errors[1].square()
        if WEIGHTS in batch:
            squares = squares * batch[WEIGHTS]
            self.log_rows(module_id, TD_ERROR, torch.stack(errors).detach().abs().mean(0))
        logp = fwd_out["actor_logp"]
        entropy = -logp.detach().mean()
        losses = {
            CRITIC: 0.5 * squares.mean(),
            ACTOR: (alpha * logp - fwd_out["actor_q"]).mean(),
            ALPHA: module.log_alpha * (entropy - self._target_entropy(module, config)),
        }
        q = fwd_out[QF_PREDS].detach()
        self.metrics.log_dict(
            {
                "qf_loss": losses[CRITIC],
                "policy_loss": losses[ACTOR],
                "alpha_loss": losses[ALPHA],
                "alpha_value": alpha,
                "entropy": entropy,
                "qf_mean": q.mean(),
                "td_error_mean": errors[0].detach().abs().mean(),
            },
            key=module_id,
        )
        return losses

    def _target_entropy(self, module: Any, config: Any) -> float:
        """Entropy in nats that the temperature is steered towards."""
        if config.target_entropy != "auto":
            return float(config.target_entropy)
        return -float(torch.Size(module.action_space.shape).numel())
