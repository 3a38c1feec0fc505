"""Settings of PPO."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from rlkit_core import AlgorithmConfig
from rlkit_core.settings import boolean, number, one_of, optional, redeclare, schedule, setting


@attrs.define
class PPOConfig(AlgorithmConfig):
    """Settings of PPO, with defaults that work on most environments with small observations.

    They are those of the literature (Schulman et al. 2017; Andrychowicz et al. 2021, "What matters in on-policy RL?";
    Huang et al. 2022, "The 37 implementation details of PPO") and differ from RLlib's in places; the reference lists
    each difference and the reason, and :meth:`rllib_defaults` takes RLlib's figures.
    """

    algo_class = "rlkit_ppo.ppo:PPO"
    default_learner_class = "rlkit_ppo.ppo:PPOTorchLearner"
    default_module_class = "rlkit_ppo.rl_module:PPOTorchRLModule"
    default_catalog_class = "rlkit_ppo.rl_module:PPOCatalog"
    action_spaces = ("Discrete", "MultiDiscrete", "MultiBinary", "Box", "Dict", "Tuple")
    supports_recurrent = supports_multi_agent = True

    lr: float | list[list[float]] = redeclare(AlgorithmConfig, "lr", 3e-4)
    train_batch_size: int = redeclare(AlgorithmConfig, "train_batch_size", 2048)
    num_envs_per_env_runner: int = redeclare(AlgorithmConfig, "num_envs_per_env_runner", 8)
    num_epochs: int = redeclare(AlgorithmConfig, "num_epochs", 10)
    minibatch_size: int | None = redeclare(AlgorithmConfig, "minibatch_size", 256)
    shuffle_batch_per_epoch: bool = redeclare(AlgorithmConfig, "shuffle_batch_per_epoch", True)
    grad_clip: float | None = redeclare(AlgorithmConfig, "grad_clip", 0.5)

    lambda_: float = setting(
        0.95, section="training", help="GAE's trade-off of bias and variance.", converter=number(ge=0, le=1)
    )
    clip_param: float = setting(
        0.2, section="training", help="How far the probability ratio may move from 1.", converter=number(gt=0)
    )
    use_critic: bool = setting(True, section="training", help="Train the value function.", converter=boolean)
    vf_loss_coeff: float = setting(
        0.5, section="training", help="Weight of the value loss.", converter=number(ge=0), needs="use_critic"
    )
    vf_clip_param: float | None = setting(
        section="training",
        help="Bound on the squared value error; None does not bound it.",
        converter=optional(number(gt=0)),
        needs="use_critic",
    )
    value_clip: float | None = setting(
        section="training",
        help="How far a value may move from the rollout's; None does not bound it.",
        converter=optional(number(gt=0)),
        needs="use_critic",
    )
    entropy_coeff: float | list[list[float]] = setting(
        0.0,
        section="training",
        help="Weight of the entropy bonus, or [[step, value], ...].",
        converter=schedule(ge=0),
    )
    use_kl_loss: bool = setting(
        False,
        section="training",
        help="Add a penalty on KL(old || new), with a weight that adapts.",
        converter=boolean,
    )
    kl_coeff: float = setting(
        0.2, section="training", help="First weight of the KL penalty.", converter=number(ge=0), needs="use_kl_loss"
    )
    kl_target: float = setting(
        0.01,
        section="training",
        help="KL that the penalty's weight steers towards.",
        converter=number(gt=0),
        needs="use_kl_loss",
    )
    normalize_advantages: str | None = setting(
        "batch",
        section="training",
        help="Standardise advantages over the 'batch' or each 'minibatch'; None does not.",
        converter=one_of("batch", "minibatch", None),
    )
    reward_scaling: bool = setting(
        False,
        section="training",
        help="Divide rewards by the running deviation of the discounted return.",
        converter=boolean,
    )
    adam_epsilon: float = setting(1e-5, section="training", help="Adam's epsilon.", converter=number(gt=0))

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        own = {"vf_share_layers": False, "fcnet_hiddens": [64, 64], "fcnet_activation": "tanh"}
        return super()._model_config_auto_includes | own

    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        yield from super().problems()
        if isinstance(self.rollout_fragment_length, int):
            sampled = self.rollout_fragment_length * self.num_envs_per_env_runner * max(1, self.num_env_runners)
            wanted = self.total_train_batch_size
            if abs(sampled - wanted) > 0.1 * wanted:
                yield (
                    f"env_runners(rollout_fragment_length={self.rollout_fragment_length}) x "
                    f"{self.num_envs_per_env_runner} envs samples {sampled} steps, but the train batch is {wanted}; "
                    f"use rollout_fragment_length='auto', or training(train_batch_size={sampled})"
                )
