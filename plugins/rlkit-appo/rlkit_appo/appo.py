"""APPO: IMPALA with PPO's clipped surrogate around a target policy.

Schulman et al., "Proximal Policy Optimization Algorithms", https://arxiv.org/abs/1707.06347, has the surrogate; Luo et
al., "IMPACT: Importance Weighted Asynchronous Architectures with Clipped Target Networks",
https://arxiv.org/abs/1912.00167, the target policy, its clipped ratio to the policy that acted and the circular buffer.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from rlkit_appo.circular_buffer import CircularBuffer
from rlkit_appo.rl_module import TARGET_ACTION_DIST_INPUTS
from rlkit_core import Columns
from rlkit_core.apis import TargetNetworkAPI, ValueFunctionAPI
from rlkit_core.data import Rollout
from rlkit_core.learner import masked_mean
from rlkit_impala import IMPALA, IMPALATorchLearner

#: Log-probabilities of the actions under the target policy.
TARGET_LOGP: Final = "target_action_logp"


class APPO(IMPALA):
    """IMPALA whose batches wait in a circular buffer and are used several times."""

    def make_batch_store(self) -> Any:
        """The circular buffer, or IMPALA's queue without ``use_circular_buffer``."""
        config = self.config
        if not config.use_circular_buffer:
            return super().make_batch_store()
        return CircularBuffer(
            config.circular_buffer_num_batches,
            config.circular_buffer_iterations_per_batch,
            self.seeds.child("circular_buffer"),
        )


class APPOTorchLearner(IMPALATorchLearner):
    """APPO's loss and KL control."""

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """APPO needs a value function and a target policy."""
        return [TargetNetworkAPI, ValueFunctionAPI]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._kl_coeff: dict[str, Tensor] = {}
        self._kl_adapted_at: dict[str, int] = {}

    def on_module_added(self, module_id: str) -> None:
        """Make the weight of the KL penalty."""
        super().on_module_added(module_id)
        config = self.config.get_config_for_module(module_id)
        self._kl_coeff[module_id] = self.tensor_variable(config.kl_coeff)
        self._kl_adapted_at[module_id] = 0

    def on_module_removed(self, module_id: str) -> None:
        """Forget it."""
        super().on_module_removed(module_id)
        self._kl_coeff.pop(module_id, None)
        self._kl_adapted_at.pop(module_id, None)

    def build_train_batch(self, module_id: str, rollout: Rollout) -> dict[str, Any]:
        """IMPALA's trajectories, with what the target policy makes of them: it stays the same during an update."""
        batch = super().build_train_batch(module_id, rollout)
        module = self.module[module_id].unwrapped()
        inputs = module.forward_target(batch)[TARGET_ACTION_DIST_INPUTS]
        dist = module.get_train_action_dist_cls().from_logits(inputs)
        batch[TARGET_LOGP] = dist.logp(batch[Columns.ACTIONS])
        if self.config.get_config_for_module(module_id).use_kl_loss:
            batch[TARGET_ACTION_DIST_INPUTS] = inputs
        return batch

    # -- every minibatch: the loss ------------------------------------------------------------------------------------

    def target_logp(self, batch: dict[str, Any], logp: Tensor) -> Tensor:
        """Log-probabilities of the policy that V-trace evaluates: the target policy's."""
        target_logp: Tensor = batch[TARGET_LOGP]
        return target_logp

    def policy_loss(
        self,
        module_id: str,
        config: Any,
        batch: dict[str, Any],
        dist: Any,
        logp: Tensor,
        advantages: Tensor,
        log: dict[str, Tensor],
    ) -> Tensor:
        """``-E[min(r A, clip(r) A)] (+ c_kl E[KL(target || new)])``, equation 7 of the PPO paper.

        ``r = min(mu(a) / target(a), target_worker_clipping) new(a) / mu(a)``: the ratio of the new and the target
        policy, less where the policy ``mu`` that acted was far more ready to act so than the target policy.
        """
        mask, behaviour_logp = batch.get(Columns.LOSS_MASK), batch[Columns.ACTION_LOGP]
        is_ratio = torch.exp(behaviour_logp - batch[TARGET_LOGP]).clamp(max=config.target_worker_clipping)
        ratio = is_ratio * torch.exp(logp - behaviour_logp)
        # min(r A, clip(r) A) = |A| min(s r, s + c) with s = sign(A): half the operations, forwards and backwards.
        sign = advantages.sign()
        surrogate = advantages.abs() * (sign * ratio).clamp(max=sign + config.clip_param)
        loss = -masked_mean(surrogate, mask)
        with torch.no_grad():
            log["mean_IS"] = mean = masked_mean(is_ratio, mask)
            log["var_IS"] = masked_mean((is_ratio - mean).square(), mask)
        if config.use_kl_loss:
            old = type(dist).from_logits(batch[TARGET_ACTION_DIST_INPUTS])
            log["mean_kl_loss"] = kl = masked_mean(old.kl(dist), mask)
            loss = loss + self._kl_coeff[module_id] * kl
        return loss

    # -- after the last minibatch -------------------------------------------------------------------------------------

    def after_gradient_based_update(self, *, timesteps: Mapping[str, int]) -> None:
        """Move schedules on; and the weight of the KL penalty, whenever the target policy is about to follow."""
        super().after_gradient_based_update(timesteps=timesteps)
        for module_id in self.trained_modules:
            config = self.config.get_config_for_module(module_id)
            if not config.use_kl_loss:
                continue
            count, every = config.target_network_clock
            now = timesteps.get(count, 0)
            if now - self._kl_adapted_at[module_id] >= every and self._adapt_kl_coeff(module_id, config):
                self._kl_adapted_at[module_id] = now
            self.metrics.log_value((module_id, "curr_kl_coeff"), float(self._kl_coeff[module_id]), reduce="last")

    def _adapt_kl_coeff(self, module_id: str, config: Any) -> bool:
        """Raise the weight where the KL was above twice its target, lower it below half of it.

        Section 4 of the PPO paper. A KL that is not there (the module had no rows in this update), or not a number,
        changes nothing; True if there was one.
        """
        kl = self.mean_over_learners(self.metrics.peek((module_id, "mean_kl_loss"), default=float("nan")))
        if kl > 2.0 * config.kl_target:
            self._kl_coeff[module_id].mul_(1.5)
        elif kl < 0.5 * config.kl_target:
            self._kl_coeff[module_id].mul_(0.5)
        return not math.isnan(kl)

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The learner's state; with KL weights, unless only some components are asked for."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if components is None:
            state["kl_coeff"] = {mid: float(coeff) for mid, coeff in self._kl_coeff.items()}
            state["kl_adapted_at"] = dict(self._kl_adapted_at)
        return state

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Continue from :meth:`get_state`."""
        super().set_state(state, strict=strict)
        for module_id, value in state.get("kl_coeff", {}).items():
            if module_id in self._kl_coeff:
                self._kl_coeff[module_id].fill_(value)
        for module_id, value in state.get("kl_adapted_at", {}).items():
            if module_id in self._kl_adapted_at:
                self._kl_adapted_at[module_id] = int(value)
