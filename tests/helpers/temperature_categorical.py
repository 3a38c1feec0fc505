"""An action distribution of one's own: a categorical that explores more or less."""

from __future__ import annotations

from typing import Any

import torch

from rlkit_core.distributions import Categorical


class TemperatureCategorical(Categorical):
    """A categorical whose logits are divided by :attr:`temperature` first; larger explores more.

    A module uses it by overriding ``get_exploration_action_dist_cls``, ``get_inference_action_dist_cls`` and
    ``get_train_action_dist_cls``; a catalog by returning it from ``_get_dist_cls_from_action_space``; a config by
    ``rl_module(components={"distribution": TemperatureCategorical})``.
    """

    __slots__ = ()

    temperature = 2.0

    @classmethod
    def from_logits(cls, logits: torch.Tensor, **kwargs: object) -> Any:
        """Build from (..., n) logits."""
        return super().from_logits(logits / cls.temperature, **kwargs)
