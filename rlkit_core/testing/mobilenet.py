"""An encoder of one's own: MobileNet-V2 (Sandler et al. 2018), written out small, without pretrained weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from attrs import define
from torch import nn

from rlkit_core.columns import ENCODER_OUT, Columns
from rlkit_core.models import Encoder, ModelConfig

#: Channels, height, width.
MOBILENET_INPUT_SHAPE = (3, 224, 224)

#: Expansion, output channels, blocks, stride of the first; table 2 of the paper.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


@define(slots=False)
class MobileNetV2EncoderConfig(ModelConfig):
    """Config of a MobileNet-V2 encoder for images of :data:`MOBILENET_INPUT_SHAPE`.

    Args:
        output_dim: width of the embedding.
        width: factor on all channel counts.
        freeze: no gradients for the convolutions; only the last layer learns.
    """

    output_dim: int = 256
    width: float = 0.25
    freeze: bool = False

    @classmethod
    def from_space(cls, space: Any, model_config: Mapping[str, Any]) -> MobileNetV2EncoderConfig:
        """The default config; ``model_config["mobilenet_width"]`` sets the width."""
        return cls(width=float(model_config.get("mobilenet_width", 0.25)))

    @property
    def output_dims(self) -> tuple[int, ...]:
        """``(output_dim,)``."""
        return (self.output_dim,)

    def build(self, framework: str = "torch") -> MobileNetV2Encoder:
        """Return a new encoder.

        Raises:
            ValueError: the framework is not ``"torch"``.
        """
        if framework != "torch":
            raise ValueError(f"MobileNetV2EncoderConfig: framework {framework!r} is not there, only 'torch'")
        return MobileNetV2Encoder(self)


class MobileNetV2Encoder(Encoder):
    """Images (B, 3, H, W) to embeddings (B, output_dim)."""

    def __init__(self, config: MobileNetV2EncoderConfig) -> None:
        super().__init__(config)

        def scaled(channels: int) -> int:
            return max(8, int(channels * config.width + 4) // 8 * 8)

        size = scaled(32)
        layers: list[nn.Module] = [_conv(3, size, kernel=3, stride=2)]
        for expansion, channels, blocks, stride in STAGES:
            for block in range(blocks):
                layers.append(_InvertedResidual(size, scaled(channels), expansion, stride if block == 0 else 1))
                size = scaled(channels)
        self.features = nn.Sequential(*layers)
        self.features.requires_grad_(not config.freeze)
        self.project = nn.Linear(size, config.output_dim)

    def forward(self, batch: Mapping[str, Any], **kwargs: object) -> dict[str, torch.Tensor]:
        """Encode ``batch["obs"]``."""
        images = batch[Columns.OBS].float()
        pooled = self.features(images).mean(dim=(-2, -1))
        return {ENCODER_OUT: torch.relu(self.project(pooled))}


class _InvertedResidual(nn.Module):
    def __init__(self, size: int, out: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = size * expansion
        steps: list[nn.Module] = [] if expansion == 1 else [_conv(size, hidden, kernel=1)]
        steps += [_conv(hidden, hidden, kernel=3, stride=stride, groups=hidden)]
        steps += [nn.Conv2d(hidden, out, 1, bias=False), nn.GroupNorm(1, out)]
        self.body = nn.Sequential(*steps)
        self.skips = stride == 1 and size == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.body(x)
        return x + y if self.skips else y


def _conv(size: int, out: int, *, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    # Group norm in place of batch norm: acting and training then compute the same.
    return nn.Sequential(
        nn.Conv2d(size, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.GroupNorm(1, out),
        nn.ReLU6(inplace=True),
    )
