"""Proximal Policy Optimization, with the clipped surrogate.

Schulman et al., "Proximal Policy Optimization Algorithms", https://arxiv.org/abs/1707.06347. One ``train()`` is one
rollout and one update: values and advantages of the whole rollout, then epochs of minibatches over it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from rlkit_core import Algorithm, Columns
from rlkit_core.apis import ValueFunctionAPI
from rlkit_core.data import Rollout, gae
from rlkit_core.learner import Scheduler, TorchLearner, masked_mean, train_rows, values_of_rollout
from rlkit_ppo.reward_scaling import RewardScaler


class PPO(Algorithm):
    """Proximal Policy Optimization. Its training step is the core's: sample, update, publish the weights."""


class PPOTorchLearner(TorchLearner):
    """PPO's advantages, loss and KL control."""

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """PPO needs a value function."""
        return [ValueFunctionAPI]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._entropy: dict[str, Scheduler] = {}
        self._kl_coeff: dict[str, Tensor] = {}
        self._reward_scaler: dict[str, RewardScaler] = {}

    def on_module_added(self, module_id: str) -> None:
        """Make what changes per module while training: entropy weight, KL weight, reward statistics."""
        super().on_module_added(module_id)
        config = self.config.get_config_for_module(module_id)
        self._entropy[module_id] = Scheduler(config.entropy_coeff, device=self.device)
        self._kl_coeff[module_id] = self.tensor_variable(config.kl_coeff)
        self._reward_scaler[module_id] = RewardScaler(config.gamma)

    def on_module_removed(self, module_id: str) -> None:
        """Forget them."""
        super().on_module_removed(module_id)
        for kept in (self._entropy, self._kl_coeff, self._reward_scaler):
            kept.pop(module_id, None)

    # -- once per update: advantages ----------------------------------------------------------------------------------

    def build_train_batch(self, module_id: str, rollout: Rollout) -> dict[str, Any]:
        """Rows, or sequences of a recurrent module, with advantages (GAE, https://arxiv.org/abs/1506.02438) and
        value targets."""
        config = self.config.get_config_for_module(module_id)
        rewards, terminateds = rollout[Columns.REWARDS], rollout[Columns.TERMINATEDS]
        truncateds = rollout[Columns.TRUNCATEDS]
        if config.reward_scaling:
            scaler = self._reward_scaler[module_id]
            if rollout.fresh_start:
                scaler.reset_open()
            rewards = _scale(scaler, rollout)
        module = self.module[module_id].unwrapped()
        # Row 0 of an agent's column may have been acted in during the rollout before, with other weights.
        same_weights = rollout.cut is None and rollout.weights_version == self.weights_seq_no
        values, last_value, final_values = values_of_rollout(module, rollout, same_weights=same_weights)
        advantages, value_targets = gae(
            rewards, values, last_value, terminateds, truncateds, final_values, config.gamma, config.lambda_
        )
        mask = rollout.loss_mask
        self.metrics.log_value((module_id, "vf_explained_var"), explained_variance(value_targets, values, mask))
        if config.normalize_advantages == "batch":
            advantages = standardized(advantages, mask)
        columns = {
            **rollout.columns,
            Columns.VF_PREDS: values,
            Columns.ADVANTAGES: advantages,
            Columns.VALUE_TARGETS: value_targets,
        }
        unused = set(_ROLLOUT_ONLY)
        if config.use_kl_loss:
            unused.discard(Columns.ACTION_DIST_INPUTS)
        if config.value_clip is not None:
            unused.discard(Columns.VF_PREDS)
        columns = {name: column for name, column in columns.items() if name not in unused}
        return train_rows(module, attrs.evolve(rollout, columns=columns))

    # -- every minibatch: the loss ------------------------------------------------------------------------------------

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """``-E[min(r A, clip(r) A)] + c_vf E[(V - V_target)^2] - c_ent E[H] (+ c_kl E[KL(old || new)])``.

        Equations 7 and 9 of the paper; ``r`` is the ratio of the actions' new and old probability.
        """
        module = self.module[module_id].unwrapped()
        dist_cls = module.get_train_action_dist_cls()
        dist = dist_cls.from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        advantages, mask = batch[Columns.ADVANTAGES], batch.get(Columns.LOSS_MASK)
        if config.normalize_advantages == "minibatch":
            advantages = standardized(advantages, mask)

        log_ratio = dist.logp(batch[Columns.ACTIONS]) - batch[Columns.ACTION_LOGP]
        ratio = log_ratio.exp()
        # min(r A, clip(r) A) = |A| min(s r, s + c) with s = sign(A): half the operations, forwards and backwards.
        sign = advantages.sign()
        surrogate = advantages.abs() * (sign * ratio).clamp(max=sign + config.clip_param)
        policy_loss = -masked_mean(surrogate, mask)
        loss = policy_loss
        log = {"policy_loss": policy_loss}

        if config.use_critic:
            values = module.compute_values(batch, embeddings=fwd_out.get(Columns.EMBEDDINGS))
            vf_loss = self._value_loss(config, batch, values, log)
            loss = loss + config.vf_loss_coeff * vf_loss

        scheduler = self._entropy[module_id]
        if scheduler.is_constant and scheduler.get_current_value() == 0.0:
            with torch.no_grad():
                log["entropy"] = masked_mean(dist.entropy(), mask)
        else:
            log["entropy"] = entropy = masked_mean(dist.entropy(), mask)
            loss = loss - scheduler.value * entropy

        if config.use_kl_loss:
            old = dist_cls.from_logits(batch[Columns.ACTION_DIST_INPUTS])
            kl = masked_mean(old.kl(dist), mask)
            loss = loss + self._kl_coeff[module_id] * kl
        else:
            with torch.no_grad():  # k3 of http://joschu.net/blog/kl-approx.html, which needs no old distribution
                kl = masked_mean(ratio - 1.0 - log_ratio, mask)
        log["mean_kl_loss"] = kl
        self.metrics.log_dict(log, key=module_id)
        return loss

    def _value_loss(self, config: Any, batch: dict[str, Any], values: Tensor, log: dict[str, Tensor]) -> Tensor:
        mask = batch.get(Columns.LOSS_MASK)
        if mask is None and config.value_clip is None and config.vf_clip_param is None:
            log["vf_loss"] = vf_loss = F.mse_loss(values, batch[Columns.VALUE_TARGETS])
            return vf_loss
        error = (values - batch[Columns.VALUE_TARGETS]).square()
        if config.value_clip is not None:
            # Clipping around the rollout's value, as in the first implementation of PPO.
            old = batch[Columns.VF_PREDS]
            near = old + (values - old).clamp(-config.value_clip, config.value_clip)
            error = torch.maximum(error, (near - batch[Columns.VALUE_TARGETS]).square())
        if config.vf_clip_param is None:
            log["vf_loss"] = vf_loss = masked_mean(error, mask)
            return vf_loss
        log["vf_loss_unclipped"] = masked_mean(error, mask)
        log["vf_loss"] = vf_loss = masked_mean(error.clamp(max=config.vf_clip_param), mask)
        return vf_loss

    # -- after the last minibatch: what changes while training --------------------------------------------------------

    def after_gradient_based_update(self, *, timesteps: Mapping[str, int]) -> None:
        """Move the entropy schedule and the weight of the KL penalty on."""
        super().after_gradient_based_update(timesteps=timesteps)
        now = timesteps.get("num_env_steps_sampled_lifetime", 0)
        for module_id, scheduler in self._entropy.items():
            scheduler.update(now)
            if module_id not in self.trained_modules:
                continue
            self.metrics.log_value((module_id, "curr_entropy_coeff"), scheduler.get_current_value(), reduce="last")
            config = self.config.get_config_for_module(module_id)
            if config.use_kl_loss:
                self._adapt_kl_coeff(module_id, config)

    def _adapt_kl_coeff(self, module_id: str, config: Any) -> None:
        """Raise the weight where the KL was above twice its target, lower it below half of it (section 4)."""
        kl = self.mean_over_learners(self.metrics.peek((module_id, "mean_kl_loss"), default=float("nan")))
        coeff = self._kl_coeff[module_id]
        if kl > 2.0 * config.kl_target:
            coeff.mul_(1.5)
        elif kl < 0.5 * config.kl_target:
            coeff.mul_(0.5)
        self.metrics.log_value((module_id, "curr_kl_coeff"), float(coeff), reduce="last")

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The learner's state; with KL weights and reward statistics, unless only some components are asked for."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if components is not None:
            return state
        state["kl_coeff"] = {mid: float(coeff) for mid, coeff in self._kl_coeff.items()}
        state["reward_scaler"] = {mid: scaler.get_state() for mid, scaler in self._reward_scaler.items()}
        return state

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Continue from :meth:`get_state`."""
        super().set_state(state, strict=strict)
        for module_id, value in state.get("kl_coeff", {}).items():
            if module_id in self._kl_coeff:
                self._kl_coeff[module_id].fill_(value)
        for module_id, scaler_state in state.get("reward_scaler", {}).items():
            if module_id in self._reward_scaler:
                self._reward_scaler[module_id].set_state(scaler_state)


#: Columns of a rollout that the loss does not read.
_ROLLOUT_ONLY = frozenset(
    {
        Columns.REWARDS,
        Columns.TERMINATEDS,
        Columns.TRUNCATEDS,
        Columns.ACTION_DIST_INPUTS,
        Columns.ACTION_PROB,
        Columns.EMBEDDINGS,
        Columns.VF_PREDS,
    }
)


def _scale(scaler: RewardScaler, rollout: Rollout) -> Tensor:
    """The rollout's scaled rewards, ``[T, N]``."""
    dones = rollout[Columns.TERMINATEDS] | rollout[Columns.TRUNCATEDS]
    if rollout.cut is None:
        return scaler(rollout[Columns.REWARDS], dones)
    lengths = rollout.column_lengths
    last = torch.arange(rollout.num_steps, device=dones.device).unsqueeze(-1) == lengths - 1
    return scaler(rollout[Columns.REWARDS], dones & ~(last & rollout.cut), lengths)


def standardized(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """``x`` with mean 0 and deviation 1 over the steps where ``mask`` holds; one step stays 0."""
    if mask is None and x.numel() > 1:
        return F.layer_norm(x, x.shape, eps=1e-12)  # the same in one operation
    centered = x - masked_mean(x, mask)
    return centered / masked_mean(centered.square(), mask).sqrt().clamp(min=1e-8)


def explained_variance(targets: Tensor, predictions: Tensor, mask: Tensor | None = None) -> Tensor:
    """``1 - Var[targets - predictions] / Var[targets]``, a 0-dim tensor: 1 is perfect, 0 no better than the mean."""
    errors = targets - predictions
    if mask is not None:
        targets, errors = targets[mask], errors[mask]
    return 1.0 - errors.var(correction=0) / targets.var(correction=0).clamp(min=1e-8)
