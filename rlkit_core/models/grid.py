"""Grids whose cells hold numbers that name things: one-hot, not scaled as the brightness of a pixel is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from attrs import define, field
from torch import nn

from rlkit_core.columns import ENCODER_OUT, Columns
from rlkit_core.models.cnn import CNNEncoder, CNNEncoderConfig, images_of
from rlkit_core.models.mlp import int_tuple

WIDTH = 32
"""Numbers that a cell becomes, at most."""


@define(slots=False, kw_only=True)
class GridEncoderConfig(CNNEncoderConfig):
    """One-hot vectors of the integers in each cell, a linear map of them (one for all cells), then convolutions.

    Fields as in ``CNNEncoderConfig``.

    Args:
        counts: number of values of each channel.
        lows: smallest value of each channel. What lies outside counts as the nearest value.
    """

    counts: tuple[int, ...] = field(default=(256,), converter=int_tuple)
    lows: tuple[int, ...] = field(default=(0,), converter=int_tuple)

    @classmethod
    def from_space(cls, space: Any, model_config: Mapping[str, Any]) -> GridEncoderConfig:
        """Config for a Box of integers of rank 2 to 4, from the ``conv_*`` settings."""
        self = super().from_space(space, model_config)
        assert isinstance(self, GridEncoderConfig)
        low, high = (torch.from_numpy(bound.astype(np.int64)) for bound in (space.low, space.high))
        lows = images_of(self)(low[None])[0].amin((1, 2))
        self.lows = int_tuple(lows.tolist())
        self.counts = int_tuple((images_of(self)(high[None])[0].amax((1, 2)) - lows + 1).tolist())
        return self

    @property
    def width(self) -> int:
        """Numbers that a cell becomes."""
        return min(WIDTH, sum(self.counts))

    @property
    def image_dims(self) -> tuple[int, int, int]:
        """Height, width, and what a cell becomes."""
        return (*super().image_dims[:2], self.width)

    def build(self, framework: str = "torch") -> GridEncoder:
        """Return a new :class:`GridEncoder`."""
        self._validate(framework)
        return GridEncoder(self)


class GridEncoder(CNNEncoder):
    """``{"obs": (B, *input_dims)}`` of integers to ``{"encoder_out": (B, D)}``; see :class:`GridEncoderConfig`."""

    lows: torch.Tensor
    highs: torch.Tensor
    first: torch.Tensor

    def __init__(self, config: GridEncoderConfig) -> None:
        super().__init__(config)
        counts = torch.tensor(config.counts)
        self.register_buffer("lows", torch.tensor(config.lows), persistent=False)
        self.register_buffer("highs", self.lows + counts - 1, persistent=False)
        self.register_buffer("first", counts.cumsum(0) - counts - self.lows, persistent=False)  # row of number 0
        self.table = nn.Parameter(torch.empty(sum(config.counts), config.width))
        nn.init.normal_(self.table, std=1.0 / math.sqrt(len(config.counts)))

    def forward(self, batch: Mapping[str, Any], **kwargs: object) -> dict[str, Any]:
        """Encode ``batch["obs"]``."""
        numbers = self.images(batch[Columns.OBS]).permute(0, 2, 3, 1).long()
        rows = torch.minimum(torch.maximum(numbers, self.lows), self.highs) + self.first
        cells = F.embedding(rows, self.table).sum(-2)  # a one-hot vector times the table is its row
        return {ENCODER_OUT: self.encode(cells.permute(0, 3, 1, 2))}
