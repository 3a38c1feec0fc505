"""SelfSupervisedLossAPI: modules that bring their own loss."""

from __future__ import annotations

import abc
from typing import Any

import torch


class SelfSupervisedLossAPI(abc.ABC):
    """A module whose own loss takes the place of the Learner's."""

    @abc.abstractmethod
    def compute_self_supervised_loss(
        self,
        *,
        learner: object,
        module_id: str,
        config: Any,
        batch: dict[str, Any],
        fwd_out: dict[str, Any],
        **kwargs: Any,
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the loss.

        Args:
            learner: the calling Learner; ``learner.metrics.log_value`` records single terms.
            module_id: this module's id.
            config: the algorithm config with this module's overrides.
            batch: this module's minibatch.
            fwd_out: what ``forward_train`` gave for it.
            **kwargs: reserved.

        Returns:
            A 0-dim tensor, or a dict of them with one entry for each optimizer that is to take a step: as of
            ``Learner.compute_loss_for_module``.
        """


class SelfSupervisedLossDriver:
    """Replaces the Learner's loss by the module's."""

    def compute_loss(
        self, *, learner: Any, module_id: str, module: Any, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the module's own loss."""
        loss: torch.Tensor | dict[str, torch.Tensor] = module.compute_self_supervised_loss(
            learner=learner, module_id=module_id, config=config, batch=batch, fwd_out=fwd_out
        )
        return loss
