"""A third party's plugin: one encoder, for arrays of any rank."""

from __future__ import annotations

import math
from typing import Any

import torch
from gymnasium.spaces import Box, Space
from torch import nn

from rlkit_core import Component, hookimpl
from rlkit_core.models import Encoder, ModelConfig

rlkit_api = "1.0"
WIDTH = 6


class FlatConfig(ModelConfig):
    """Flattens what it sees, and one layer of its own."""

    output_dims = (WIDTH,)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.input_dims = shape

    @classmethod
    def from_space(cls, space: Space[Any], model_config: dict[str, Any]) -> FlatConfig:
        assert space.shape is not None
        return cls(space.shape)

    def build(self, framework: str = "torch") -> FlatNet:
        return FlatNet(self)


class FlatNet(Encoder):
    """The network."""

    def __init__(self, config: FlatConfig) -> None:
        super().__init__(config)
        self.rank = len(config.input_dims)
        self.layer = nn.Linear(math.prod(config.input_dims), WIDTH)

    def forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        obs = inputs["obs"].float()
        return {"encoder_out": torch.tanh(self.layer(obs.flatten(obs.dim() - self.rank)))}


@hookimpl
def rlkit_encoders() -> list[Component]:
    """The encoder."""
    return [Component("flat", "encoder", FlatConfig, [Box])]
