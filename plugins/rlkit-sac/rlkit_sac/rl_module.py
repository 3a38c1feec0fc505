"""SAC's module and catalog: an actor, two critics with targets, a temperature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium as gym
import torch
from torch import Tensor, nn

from rlkit_core import Catalog, Columns, Component
from rlkit_core.apis import InferenceOnlyAPI, QNetAPI, TargetNetworkAPI
from rlkit_core.catalog import has_action_mask
from rlkit_core.errors import ConfigError
from rlkit_core.learner import make_target_network
from rlkit_core.models import ActingPlan, encoder_output
from rlkit_offpolicy import RandomWarmup, successor_batch

QF_PREDS, QF_TWIN_PREDS = "qf_preds", "qf_twin_preds"


class SACCatalog(Catalog):
    """Chooses a squashed Gaussian for Box actions; the critics' encoders and heads are those of the slot ``"qf"``."""

    algorithm = "sac"
    settings: ClassVar[Mapping[str, Any] | None] = {}
    components: ClassVar[tuple[Component, ...]] = (
        Component(
            "squashed-gaussian",
            "distribution",
            "rlkit_core.distributions:SquashedGaussian",
            (gym.spaces.Box,),
            settings={},
        ),
    )

    def build_pi_head(self, framework: str = "torch") -> Any:
        """Return a new policy head: encoder output to ``action_dist_inputs``."""
        width = self.get_action_dist_cls(framework).required_input_dim(self.action_space, self.model_config_dict)
        return self.head_config("pi", width).build(framework)


class SACTorchRLModule(RandomWarmup, QNetAPI, TargetNetworkAPI, InferenceOnlyAPI):
    """An actor ``self.encoder``, ``self.pi``; critics ``self.qf``, ``self.qf_twin``; ``self.log_alpha``.

    Settings come from ``model_config``: ``twin_q``, ``initial_alpha``, with the defaults of ``SACConfig``.
    """

    default_catalog_class: ClassVar[type | None] = SACCatalog

    encoder: Any
    pi: Any
    qf: Any
    qf_twin: Any
    log_alpha: nn.Parameter

    def setup(self) -> None:
        """Build actor and critics with the catalog."""
        if has_action_mask(self.observation_space):
            raise ConfigError(
                f"{type(self).__name__}: 'action_mask' in {self.observation_space}: actions of a Box cannot be masked; "
                "remove it from the observation"
            )
        catalog: Any = self.catalog
        self.encoder = catalog.build_encoder(framework=self.framework)
        self.pi = catalog.build_pi_head(framework=self.framework)
        self.qf = catalog.build_q_network(framework=self.framework)
        twin = self.model_config.get("twin_q", True)
        self.qf_twin = catalog.build_q_network(framework=self.framework) if twin else None
        self.log_alpha = nn.Parameter(torch.tensor(math.log(self.model_config.get("initial_alpha", 1.0))))
        #: Columns of a batch that the networks read; whoever acts and trains supplies them.
        self.input_columns = tuple(getattr(self.encoder, "input_columns", (Columns.OBS,)))
        self.acting_plan = ActingPlan.of(self.encoder, self.pi)

    def get_non_inference_attributes(self) -> list[str]:
        """All but the actor."""
        return ["qf", "qf_twin", "log_alpha"]

    # -- acting -------------------------------------------------------------------------------------------------------

    def compute_logits(self, batch: dict[str, Any]) -> Tensor:
        """Inputs of the actor's distribution, (B, D)."""
        plan, obs = self.acting_plan, batch[Columns.OBS]
        if plan is not None and obs.dtype is torch.float32 and plan.holds(self.encoder, self.pi):
            return plan(obs)
        logits: Tensor = self.pi(encoder_output(self.encoder(batch), self.encoder))
        return logits

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """``action_dist_inputs`` (B, D)."""
        return {Columns.ACTION_DIST_INPUTS: self.compute_logits(batch)}

    # -- critics ------------------------------------------------------------------------------------------------------

    def compute_q_values(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """``qf_preds`` and, with two critics, ``qf_twin_preds`` (B,) of the batch's raw ``actions``."""
        return self._q_values(batch, self.qf, self.qf_twin)

    def forward_target(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """:meth:`compute_q_values` by the target networks."""
        return self._q_values(batch, self._target_qf, self._target_qf_twin)

    def _q_values(self, batch: dict[str, Any], qf: Any, qf_twin: Any) -> dict[str, Tensor]:
        values = {QF_PREDS: qf(batch)}
        return values if qf_twin is None else {**values, QF_TWIN_PREDS: qf_twin(batch)}

    def make_target_networks(self) -> None:
        """Copy the critics."""
        self._target_qf = make_target_network(self.qf)
        self._target_qf_twin = None if self.qf_twin is None else make_target_network(self.qf_twin)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """The critics."""
        pairs = [(self.qf, self._target_qf)]
        return pairs if self.qf_twin is None else [*pairs, (self.qf_twin, self._target_qf_twin)]

    # -- training -----------------------------------------------------------------------------------------------------

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """What the three losses need.

        Returns:
            ``qf_preds`` and, with two critics, ``qf_twin_preds`` (B,), values of the batch's actions; ``actor_q``,
            ``actor_logp`` (B,), the lowest value and the log-probability of actions drawn anew, with gradients to the
            actor; ``next_q``, ``next_logp`` (B,), the target networks' lowest value, and the log-probability, of
            actions drawn for what follows, without gradients.
        """
        dist_cls = self.get_train_action_dist_cls()
        following = successor_batch(batch)
        with torch.no_grad():
            actions, next_logp = dist_cls.from_logits(self.compute_logits(following)).sample(return_logp=True)
            next_q = lowest(self.forward_target({**following, Columns.ACTIONS: actions}))
        actions, logp = dist_cls.from_logits(self.compute_logits(batch)).rsample(return_logp=True)
        return {
            **self.compute_q_values(batch),
            "actor_q": lowest(self.compute_q_values({**batch, Columns.ACTIONS: actions})),
            "actor_logp": logp,
            "next_q": next_q,
            "next_logp": next_logp,
        }


def lowest(values: dict[str, Tensor]) -> Tensor:
    """The lower of two critics' values, (B,); the only one's."""
    q = values[QF_PREDS]
    return torch.minimum(q, values[QF_TWIN_PREDS]) if QF_TWIN_PREDS in values else q


SACRLModule = SACTorchRLModule
