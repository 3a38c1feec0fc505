"""Settings of SAC."""

from __future__ import annotations

from typing import Any

import attrs

from rlkit_core import AlgorithmConfig
from rlkit_core.settings import boolean, either, number, one_of, optional, redeclare, schedule, setting
from rlkit_offpolicy import OffPolicyConfig, replay_buffer_setting


@attrs.define
class SACConfig(OffPolicyConfig):
    """Settings of soft actor-critic.

    They have RLlib's names and meanings; defaults that differ are listed in the reference, each with the reason;
    :meth:`rllib_defaults` takes RLlib's.
    """

    algo_class = "rlkit_sac.sac:SAC"
    default_learner_class = "rlkit_sac.sac:SACTorchLearner"
    default_module_class = "rlkit_sac.rl_module:SACTorchRLModule"
    default_catalog_class = "rlkit_sac.rl_module:SACCatalog"
    action_spaces = ("Box",)
    supports_recurrent = False
    supports_multi_agent = True

    lr: float | list[list[float]] = redeclare(AlgorithmConfig, "lr", 3e-4)
    train_batch_size: int = redeclare(AlgorithmConfig, "train_batch_size", 256)
    replay_buffer_config: dict[str, Any] = replay_buffer_setting("uniform", capacity=1_000_000)
    warmup: str = redeclare(OffPolicyConfig, "warmup", "random")
    target_network_update_freq: int = redeclare(OffPolicyConfig, "target_network_update_freq", 0)
    tau: float = redeclare(OffPolicyConfig, "tau", 0.005)

    twin_q: bool = setting(
        True, section="training", help="Two critics, of whose values the lower counts.", converter=boolean
    )
    initial_alpha: float = setting(1.0, section="training", help="First temperature.", converter=number(gt=0))
    target_entropy: float | str = setting(
        "auto",
        section="training",
        help="Entropy in nats that the temperature is steered towards; 'auto': minus the number of action elements.",
        converter=either(one_of("auto"), number()),
    )
    actor_lr: float | list[list[float]] | None = setting(
        section="training", help="Learning rate of the actor; None: lr.", converter=optional(schedule(ge=0))
    )
    critic_lr: float | list[list[float]] | None = setting(
        section="training", help="Learning rate of the critics; None: lr.", converter=optional(schedule(ge=0))
    )
    alpha_lr: float | list[list[float]] | None = setting(
        section="training",
        help="Learning rate of the temperature; None: lr; 0: it stays initial_alpha.",
        converter=optional(schedule(ge=0)),
    )

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        own = {
            "fcnet_hiddens": [256, 256],
            "fcnet_activation": "relu",
            "qf_fcnet_hiddens": [],  # observations and actions meet before the first layer
            "qf_head_fcnet_hiddens": [256, 256],
            "head_fcnet_activation": "relu",
            "twin_q": self.twin_q,
            "initial_alpha": self.initial_alpha,
        }
        return super()._model_config_auto_includes | own
