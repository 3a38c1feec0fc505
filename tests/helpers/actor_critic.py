"""An actor-critic algorithm for tests of the core: the clipped surrogate, GAE, a value function, and nothing more.

It stands in for the algorithms that are installed as plugins: it samples, trains in epochs of minibatches, is recurrent
if its module is, takes several modules, and learns.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import attrs
from torch import Tensor

from rlkit_core import (
    ActorCriticCatalog,
    ActorCriticTorchRLModule,
    Algorithm,
    AlgorithmConfig,
    Columns,
    Learner,
    RLModuleSpec,
)
from rlkit_core.apis import ValueFunctionAPI
from rlkit_core.data import Rollout, gae
from rlkit_core.learner import masked_mean, train_rows, values_of_rollout
from rlkit_core.settings import boolean, number, redeclare, setting


@attrs.define
class ACConfig(AlgorithmConfig):
    """Settings of the actor-critic algorithm of these tests."""

    algo_class = "actor_critic:AC"

    lr: Any = redeclare(AlgorithmConfig, "lr", 3e-4)
    train_batch_size: int = redeclare(AlgorithmConfig, "train_batch_size", 2048)
    num_envs_per_env_runner: int = redeclare(AlgorithmConfig, "num_envs_per_env_runner", 8)
    num_epochs: int = redeclare(AlgorithmConfig, "num_epochs", 10)
    minibatch_size: int | None = redeclare(AlgorithmConfig, "minibatch_size", 256)
    shuffle_batch_per_epoch: bool = redeclare(AlgorithmConfig, "shuffle_batch_per_epoch", True)
    grad_clip: float | None = redeclare(AlgorithmConfig, "grad_clip", 0.5)

    lambda_: float = setting(0.95, section="training", help="Of GAE.", converter=number(ge=0, le=1))
    entropy_coeff: float = setting(0.0, section="training", help="Weight of the entropy.", converter=number(ge=0))
    normalize_advantages: bool = setting(True, section="training", help="Standardise them.", converter=boolean)

    def get_default_learner_class(self) -> type[ACLearner]:
        return ACLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=ACModule, catalog_class=ActorCriticCatalog)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        small = {"vf_share_layers": False, "fcnet_hiddens": [64, 64], "fcnet_activation": "tanh"}
        return super()._model_config_auto_includes | small

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.minibatch_size is not None and self.minibatch_size > self.train_batch_size_per_learner:
            yield f"training(minibatch_size={self.minibatch_size}) is larger than the train batch"


class ACModule(ActorCriticTorchRLModule):
    """The core's actor-critic module."""


class AC(Algorithm):
    """Its training step is the core's: sample, update, publish the weights."""


class ACLearner(Learner):
    """Advantages and the clipped loss."""

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        return [ValueFunctionAPI]

    def build_train_batch(self, module_id: str, rollout: Rollout) -> dict[str, Any]:
        config = self.config.get_config_for_module(module_id)
        module = self.module[module_id].unwrapped()
        values, last_value, final_values = values_of_rollout(module, rollout)
        ends = rollout[Columns.TERMINATEDS], rollout[Columns.TRUNCATEDS]
        advantages, targets = gae(
            rollout[Columns.REWARDS], values, last_value, *ends, final_values, config.gamma, config.lambda_
        )
        columns = {
            name: column
            for name, column in rollout.columns.items()
            if name not in (Columns.REWARDS, Columns.TERMINATEDS, Columns.TRUNCATEDS, Columns.ACTION_DIST_INPUTS)
        }
        if config.normalize_advantages:
            advantages = standardized(advantages, rollout.loss_mask)
        columns |= {Columns.ADVANTAGES: advantages, Columns.VALUE_TARGETS: targets}
        return train_rows(module, attrs.evolve(rollout, columns=columns))

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        module = self.module[module_id].unwrapped()
        dist = module.get_train_action_dist_cls().from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        advantages, mask = batch[Columns.ADVANTAGES], batch.get(Columns.LOSS_MASK)
        ratio = (dist.logp(batch[Columns.ACTIONS]) - batch[Columns.ACTION_LOGP]).exp()
        surrogate = (ratio * advantages).minimum(ratio.clamp(0.8, 1.2) * advantages)
        policy_loss = -masked_mean(surrogate, mask)
        values = module.compute_values(batch, embeddings=fwd_out.get(Columns.EMBEDDINGS))
        vf_loss = masked_mean((values - batch[Columns.VALUE_TARGETS]).square(), mask)
        entropy = masked_mean(dist.entropy(), mask)
        self.metrics.log_dict({"policy_loss": policy_loss, "vf_loss": vf_loss, "entropy": entropy}, key=module_id)
        return policy_loss + 0.5 * vf_loss - config.entropy_coeff * entropy


def standardized(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` with mean 0 and deviation 1 over the steps where ``mask`` holds."""
    centered = x - masked_mean(x, mask)
    return centered / masked_mean(centered.square(), mask).sqrt().clamp(min=1e-8)


@functools.cache
def rows_to_clone() -> dict[str, Any]:
    """Observations and sampled actions of a policy for CartPole that was trained for a few seconds."""
    config = ACConfig().environment("CartPole-v1").debugging(seed=1).training(lr=1e-3)
    with config.build_algo() as algo:
        for _ in range(12):
            algo.train()
        rows = algo.env_runner.sample(num_timesteps=8192)["default_policy"].flat()
    return {name: rows[name].clone() for name in (Columns.OBS, Columns.ACTIONS)}
