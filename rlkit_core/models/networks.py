"""Networks of an encoder and a head; those of action values, whose head may see actions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from rlkit_core.columns import Columns
from rlkit_core.errors import ConfigError
from rlkit_core.models.actions import ActionPart, actions_as_numbers
from rlkit_core.models.base import Model, ModelConfig, build_network, encoder_output, input_columns_of


class SlotNetwork(Model):
    """An encoder and a head behind it: ``head(encoder(obs))``.

    Args:
        encoder_config: config of a stateless encoder.
        head_config: config of the head.
    """

    def __init__(self, encoder_config: ModelConfig, head_config: ModelConfig, framework: str = "torch") -> None:
        super().__init__()
        if getattr(encoder_config, "recurrent", False):
            raise ConfigError(
                f"{type(self).__name__}: its encoder is recurrent ({type(encoder_config).__name__}), and it keeps no "
                "state. Leave use_lstm and use_gru off, or build encoder and head yourself"
            )
        self.encoder: nn.Module = build_network(encoder_config, framework)
        self.head: nn.Module = build_network(head_config, framework)
        self._rank = len(encoder_config.output_dims)
        #: Columns of a batch that its encoder reads.
        self.input_columns = input_columns_of(self.encoder)

    def encode(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Features of observations, (B, D)."""
        out: torch.Tensor = encoder_output(self.encoder(batch), self.encoder)
        return out if self._rank == 1 else out.flatten(-self._rank)

    def forward(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """The head's output, (B, outputs), of ``batch["obs"]``."""
        out: torch.Tensor = self.head(self.encode(batch))
        return out


class QNetwork(SlotNetwork):
    """Q values of observations and actions: ``head(cat(encoder(obs), actions))``, or ``head(encoder(obs))``.

    Actions are raw ones, as rollouts and replay buffers store them; integers go in as one-hot vectors. Gradients flow
    back to them.

    Args:
        encoder_config: config of a stateless encoder.
        head_config: config of the head.
        parts: of the actions that are an input; None: the head has one output for each of them.
    """

    def __init__(
        self,
        encoder_config: ModelConfig,
        head_config: ModelConfig,
        parts: tuple[ActionPart, ...] | None,
        framework: str = "torch",
    ) -> None:
        super().__init__(encoder_config, head_config, framework)
        self._parts = parts
        # One Box, the usual case, is what the head takes as it is.
        self._plain = parts is not None and len(parts) == 1 and parts[0][1] is None and not parts[0][0]

    def q_of_features(self, features: torch.Tensor, actions: Any = None) -> torch.Tensor:
        """Q values, (B,), of what :meth:`encode` gave and raw actions; without actions as an input (B, A)."""
        if self._parts is None:
            return self.head(features)  # type: ignore[no-any-return]
        if self._plain and actions.dim() == features.dim():
            numbers = [actions if actions.dtype is features.dtype else actions.to(features.dtype)]
        else:
            numbers = actions_as_numbers(actions, self._parts, features)
        q: torch.Tensor = self.head(torch.cat((features, *numbers), -1))
        return q.squeeze(-1)

    def forward(self, batch: Mapping[str, Any], actions: Any = None) -> torch.Tensor:
        """Q values of ``batch["obs"]`` and ``actions`` (those of the batch unless given), (B,).

        Without actions as an input, those of all actions: (B, A).
        """
        if actions is None and self._parts is not None:
            actions = batch[Columns.ACTIONS]
        return self.q_of_features(self.encode(batch), actions)


def joined_width(encoder_config: ModelConfig, parts_width: int) -> tuple[int]:
    """Input size of a head behind an encoder whose output is joined with so many numbers."""
    return (math.prod(encoder_config.output_dims) + parts_width,)
