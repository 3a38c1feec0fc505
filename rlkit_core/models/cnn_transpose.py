"""A head that draws an image: transposed convolutions, for decoders and world models."""

from __future__ import annotations

from typing import Any

import torch
from attrs import define, field
from torch import nn

from rlkit_core.errors import ConfigError
from rlkit_core.models.base import Head, ModelConfig, check_framework
from rlkit_core.models.cnn import pair
from rlkit_core.models.initializers import get_activation, initialize_layer
from rlkit_core.models.mlp import LAYERNORM_EPS, int_tuple


@define(slots=False, kw_only=True)
class CNNTransposeHeadConfig(ModelConfig):
    """A dense layer to a small image, then transposed convolutions, each enlarging it by its stride.

    The last layer has neither norm nor activation, and 0.5 is added to its output, so that a fresh network
    draws a grey image of values round the middle of [0, 1].

    Args:
        input_dims: ``(D,)``.
        initial_image_dims: ``(H, W, C)`` of the first image.
        cnn_transpose_filter_specifiers: rows of ``[channels, kernel, stride]``, numbers or pairs.
        cnn_transpose_activation: after each layer but the last.
        cnn_transpose_use_layernorm: before each of these activations, over channels and image.
    """

    input_dims: Any = field(converter=int_tuple)
    always_check_shapes: bool = False
    initial_image_dims: tuple[int, ...] = field(default=(4, 4, 96), converter=int_tuple)
    initial_dense_weights_initializer: Any = None
    initial_dense_weights_initializer_config: dict[str, Any] | None = None
    initial_dense_bias_initializer: Any = None
    initial_dense_bias_initializer_config: dict[str, Any] | None = None
    cnn_transpose_filter_specifiers: Any = field(factory=lambda: [[48, [4, 4], 2], [24, [4, 4], 2], [3, [4, 4], 2]])
    cnn_transpose_use_bias: bool = True
    cnn_transpose_activation: Any = "relu"
    cnn_transpose_use_layernorm: bool = False
    cnn_transpose_kernel_initializer: Any = None
    cnn_transpose_kernel_initializer_config: dict[str, Any] | None = None
    cnn_transpose_bias_initializer: Any = None
    cnn_transpose_bias_initializer_config: dict[str, Any] | None = None

    @property
    def output_dims(self) -> tuple[int, ...]:
        """``(H, W, C)`` of the image."""
        height, width, channels = self.initial_image_dims
        for row in self.cnn_transpose_filter_specifiers:
            channels, stride = int(row[0]), pair(row[2])
            height, width = height * stride[0], width * stride[1]
        return (height, width, channels)

    def _validate(self, framework: str = "torch") -> None:
        check_framework(self, framework)
        name = type(self).__name__
        if len(self.input_dims) != 1 or len(self.initial_image_dims) != 3:
            raise ConfigError(
                f"{name}: input_dims must be (D,) and initial_image_dims (H, W, C); got {self.input_dims} and "
                f"{self.initial_image_dims}"
            )
        if not self.cnn_transpose_filter_specifiers:
            raise ConfigError(f"{name}: cnn_transpose_filter_specifiers is empty; give at least one layer")

    def build(self, framework: str = "torch") -> Head:
        """Return a new :class:`CNNTransposeHead`."""
        self._validate(framework)
        return CNNTransposeHead(self)


class CNNTransposeHead(Head):
    """``(B, D)`` to an image ``(B, H, W, C)``; see :class:`CNNTransposeHeadConfig`."""

    def __init__(self, config: CNNTransposeHeadConfig) -> None:
        super().__init__(config)
        height, width, channels = config.initial_image_dims
        self._first = (channels, height, width)
        self.dense = nn.Linear(config.input_dims[0], height * width * channels)
        initialize_layer(self.dense, config, "initial_dense_weights", "initial_dense_bias")
        self.layers = nn.ModuleList()
        plan: list[tuple[nn.Module, list[Any], int, int]] = []
        rows = config.cnn_transpose_filter_specifiers
        for i, row in enumerate(rows):
            out, kernel, stride = int(row[0]), pair(row[1]), pair(row[2])
            height, width = height * stride[0], width * stride[1]
            crop = [max(k - s, 0) for k, s in zip(kernel, stride, strict=True)]
            conv = nn.ConvTranspose2d(
                channels,
                out,
                kernel,
                stride,
                padding=(crop[0] // 2, crop[1] // 2),
                output_padding=(max(stride[0] - kernel[0], 0), max(stride[1] - kernel[1], 0)),
                bias=config.cnn_transpose_use_bias,
            )
            initialize_layer(conv, config, "cnn_transpose_kernel", "cnn_transpose_bias")
            after: list[Any] = []
            if i < len(rows) - 1:
                if config.cnn_transpose_use_layernorm:
                    after.append(nn.LayerNorm((out, height, width), eps=LAYERNORM_EPS))
                activation = get_activation(config.cnn_transpose_activation)
                if activation is not None:
                    after.append(activation)
            self.layers.append(nn.ModuleList([conv, *(m for m in after if isinstance(m, nn.Module))]))
            plan.append((conv, after, height, width))
            channels = out
        self._plan = tuple(plan)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Draw images from features."""
        image = self.dense(x).unflatten(-1, self._first)
        for conv, after, height, width in self._plan:
            # an odd overlap leaves one row or column more than wanted
            image = conv(image)[..., :height, :width]
            for function in after:
                image = function(image)
        result: torch.Tensor = image.permute(0, 2, 3, 1) + 0.5
        return result
