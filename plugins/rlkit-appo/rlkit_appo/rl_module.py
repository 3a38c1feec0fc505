"""APPO's module and catalog: IMPALA's, with a copy of the policy that follows it slowly."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from rlkit_core.apis import TargetNetworkAPI
from rlkit_core.learner import make_target_network
from rlkit_impala import IMPALACatalog, IMPALATorchRLModule

#: What ``forward_target`` returns: the distribution inputs of the target policy.
TARGET_ACTION_DIST_INPUTS: Final = "target_network_action_dist_inputs"


class APPOCatalog(IMPALACatalog):
    """Chooses encoder, heads and distribution of an APPO module.

    A catalog written for another actor-critic algorithm serves APPO as well, and the other way round.
    """


class APPOTorchRLModule(IMPALATorchRLModule, TargetNetworkAPI):
    """Policy and value network, with parts ``encoder``, ``pi`` and ``vf``, and the target policy.

    ``_old_encoder`` and ``_old_pi`` exist where the module is trained; those who only act never have them.
    """

    default_catalog_class = APPOCatalog

    _old_encoder: Any
    _old_pi: Any

    def make_target_networks(self) -> None:
        """Copy encoder and policy head."""
        self._old_encoder = make_target_network(self.encoder)
        self._old_pi = make_target_network(self.pi)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Encoder and policy head, each with its copy."""
        return [(self.encoder, self._old_encoder), (self.pi, self._old_pi)]

    @torch.no_grad()
    def forward_target(self, batch: dict[str, Any]) -> dict[str, Any]:
        """``{"target_network_action_dist_inputs": (B, D)}``, ``(B, T, D)`` when recurrent."""
        return {TARGET_ACTION_DIST_INPUTS: self.compute_logits(batch, self._old_encoder, self._old_pi)}

    def get_non_inference_attributes(self) -> list[str]:
        """What IMPALA's has, and the target policy."""
        return [*super().get_non_inference_attributes(), "_old_encoder", "_old_pi"]


APPORLModule = APPOTorchRLModule
