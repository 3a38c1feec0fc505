"""Convolutional encoders for images of any size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from attrs import define, field
from torch import nn

from rlkit_core.columns import ENCODER_OUT, Columns
from rlkit_core.errors import ConfigError
from rlkit_core.models.base import Encoder, ModelConfig, check_framework
from rlkit_core.models.default_config import effective_model_config
from rlkit_core.models.initializers import get_activation, initialize_layer
from rlkit_core.models.mlp import LAYERNORM_EPS, MLPSettings, Plan, int_tuple, integer_scale, run_plan

# rows of [channels, kernel, stride(, padding)]; the last convolution of most covers the whole image
_KNOWN_FILTERS: dict[tuple[int, int], list[list[Any]]] = {
    (96, 96): [[16, 8, 4], [32, 4, 2], [256, 11, 2, "valid"]],
    (84, 84): [[16, 8, 4], [32, 4, 2], [256, 11, 1, "valid"]],
    (64, 64): [[16, 4, 2], [32, 4, 2], [64, 4, 2], [128, 4, 2]],
    (42, 42): [[16, 4, 2], [32, 4, 2], [256, 11, 1, "valid"]],
    (10, 10): [[16, 5, 2], [32, 5, 2]],
}


def auto_filters(height: int, width: int) -> list[list[Any]]:
    """Choose convolutions for an image size: strided ones until it is small, then one over all that is left."""
    known = _KNOWN_FILTERS.get((height, width))
    if known is not None:
        return [list(row) for row in known]
    size = (height, width)
    filters: list[list[Any]] = []

    def add(channels: int, kernel: int, stride: int) -> None:
        nonlocal size
        filters.append([channels, kernel, stride])
        size = (-(-size[0] // stride), -(-size[1] // stride))

    if max(size) <= 12:
        add(16, 3, 1)
        add(32, 3, 2)
    else:
        add(16, *((8, 4) if max(size) > 48 else (4, 2)))
        add(32, 4, 2)
        while max(size) > 12:
            add(64, 4, 2)
    return [*filters, [256, list(size), 1, "valid"]]


def looks_channels_first(shape: Sequence[int]) -> bool:
    """Whether an image shape of rank 3 reads as (C, H, W): the others are equal and it is not, or it is shortest."""
    if len(shape) != 3 or (shape[0] == shape[1] != shape[2]):
        return False
    return shape[0] != shape[1] == shape[2] or (shape[0] < shape[2] and shape[0] <= shape[1])


def height_axis(shape: Sequence[int], channels_first: bool | None = None) -> int:
    """Which axis of images, stacks of images of rank 4 among them, is the height; the next one is the width.

    All other axes are channels. Of a stack (K, H, W, C) or (K, C, H, W), unless it is said which, it is the first of
    the two neighbours that are longest.
    """
    if len(shape) == 2:
        return 0
    if len(shape) == 3:
        return int(looks_channels_first(shape) if channels_first is None else channels_first)
    if channels_first is not None:
        return 2 if channels_first else 1
    return max(range(3), key=lambda axis: min(shape[axis], shape[axis + 1]))


@define(slots=False, kw_only=True)
class CNNEncoderConfig(ModelConfig):
    """Convolutions, flattened at the end, with dense layers after them if wanted.

    Args:
        input_dims: ``(H, W, C)``, ``(C, H, W)`` with ``channels_first``, or ``(H, W)``; of stacks of images ``(K, H, W,
            C)`` or ``(K, C, H, W)``, all K * C of which are channels.
        cnn_filter_specifiers: rows of ``[channels, kernel, stride]`` with an optional fourth entry ``"same"``
            (the default: the output is the input divided by the stride, rounded up) or ``"valid"``. Kernel and
            stride are a number or a pair (height, width).
        cnn_activation: after every convolution and dense layer.
        cnn_use_layernorm: a layer norm before each activation of a convolution, over channels and image.
        cnn_kernel_initializer: in-place function of ``torch.nn.init`` or a callable, arguments in ``..._config``.
        flatten_at_end: otherwise the output is ``(H, W, C)``.
        dense_layer_dims: sizes of dense layers after flattening.
        channels_first: layout of the observations; None: guessed.
        uint8_scale: factor on uint8 observations, applied inside the module.
    """

    input_dims: Any = field(converter=int_tuple)
    always_check_shapes: bool = False
    cnn_filter_specifiers: Any = field(factory=lambda: [[16, 4, 2], [32, 4, 2], [64, 8, 2]])
    cnn_use_bias: bool = True
    cnn_activation: Any = "relu"
    cnn_use_layernorm: bool = False
    cnn_kernel_initializer: Any = None
    cnn_kernel_initializer_config: dict[str, Any] | None = None
    cnn_bias_initializer: Any = None
    cnn_bias_initializer_config: dict[str, Any] | None = None
    flatten_at_end: bool = True
    dense_layer_dims: tuple[int, ...] = field(default=(), converter=int_tuple)
    channels_first: bool | None = False
    uint8_scale: float = 1.0 / 255.0

    @classmethod
    def from_space(cls, space: Any, model_config: Mapping[str, Any]) -> CNNEncoderConfig:
        """Config for a Box of rank 2 to 4, from the ``conv_*`` settings; filters by image size unless given."""
        config = effective_model_config(model_config)
        shape = int_tuple(space.shape)
        first = config["conv_channels_first"]
        if first is None and len(shape) < 4:
            first = looks_channels_first(shape)
        self = cls(
            input_dims=shape,
            cnn_activation=config["conv_activation"],
            cnn_use_layernorm=config["conv_use_layernorm"],
            cnn_kernel_initializer=config["conv_kernel_initializer"],
            cnn_kernel_initializer_config=config["conv_kernel_initializer_kwargs"],
            cnn_bias_initializer=config["conv_bias_initializer"],
            cnn_bias_initializer_config=config["conv_bias_initializer_kwargs"],
            dense_layer_dims=config["conv_fcnet_hiddens"],
            channels_first=first if len(shape) > 2 else False,
            uint8_scale=integer_scale(space),
        )
        height, width, _ = self.image_dims
        filters = config["conv_filters"]
        self.cnn_filter_specifiers = auto_filters(height, width) if filters is None else filters
        return self

    @property
    def image_dims(self) -> tuple[int, int, int]:
        """Height, width, channels of an observation."""
        dims = self.input_dims
        if len(dims) not in (2, 3, 4):
            raise ConfigError(
                f"{type(self).__name__}: input_dims must be (H, W, C), (C, H, W) or (H, W), or a stack of such images, "
                f"got {dims}"
            )
        axis = height_axis(dims, self.channels_first)
        return dims[axis], dims[axis + 1], math.prod(dims[:axis] + dims[axis + 2 :])

    def convolutions(self) -> list[Convolution]:
        """The layers with their exact sizes.

        Raises:
            ConfigError: a malformed row, or an image too small for a ``"valid"`` convolution.
        """
        height, width, channels = self.image_dims
        layers = []
        for row in self.cnn_filter_specifiers:
            layer = Convolution.of(row, (height, width), channels)
            layers.append(layer)
            (height, width), channels = layer.size_out, layer.channels_out
        return layers

    @property
    def conv_output_dims(self) -> tuple[int, int, int]:
        """Height, width and channels after the last convolution."""
        layers = self.convolutions()
        return (*layers[-1].size_out, layers[-1].channels_out) if layers else self.image_dims

    @property
    def output_dims(self) -> tuple[int, ...]:
        """``(D,)``, or ``(H, W, C)`` when not flattened."""
        height, width, channels = self.conv_output_dims
        if not self.flatten_at_end:
            return (height, width, channels)
        return (self.dense_layer_dims[-1],) if self.dense_layer_dims else (height * width * channels,)

    def _validate(self, framework: str = "torch") -> None:
        check_framework(self, framework)
        if self.dense_layer_dims and not self.flatten_at_end:
            raise ConfigError(f"{type(self).__name__}: dense_layer_dims need flatten_at_end=True")

    def build(self, framework: str = "torch") -> CNNEncoder:
        """Return a new :class:`CNNEncoder`."""
        self._validate(framework)
        return CNNEncoder(self)


@define(frozen=True)
class Convolution:
    """One convolution with its sizes; ``pad`` is (left, right, top, bottom)."""

    channels_in: int
    channels_out: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int, int, int]
    size_out: tuple[int, int]

    @classmethod
    def of(cls, row: object, size: tuple[int, int], channels: int) -> Convolution:
        """Read ``[channels, kernel, stride(, padding)]`` for an input size."""
        if not isinstance(row, list | tuple) or len(row) not in (3, 4):
            raise ConfigError(f"filter {row!r}: expected [channels, kernel, stride] and optionally a padding")
        padding = row[3] if len(row) == 4 else "same"
        if padding not in ("same", "valid"):
            raise ConfigError(f"filter {row!r}: padding must be 'same' or 'valid', got {padding!r}")
        kernel, stride = pair(row[1]), pair(row[2])
        pads, out = [], []
        for n, k, s in zip(size, kernel, stride, strict=True):
            if padding == "same":
                out.append(-(-n // s))
                total = max((out[-1] - 1) * s + k - n, 0)
                pads.append((total // 2, total - total // 2))
            else:
                if n < k:
                    raise ConfigError(
                        f"filter {row!r}: the image is {size[0]}x{size[1]} there, smaller than the kernel; "
                        "use smaller filters or padding 'same'"
                    )
                out.append((n - k) // s + 1)
                pads.append((0, 0))
        pad = (*pads[1], *pads[0])
        return cls(channels, int(row[0]), kernel, stride, pad, (out[0], out[1]))


def pair(value: Any) -> tuple[int, int]:
    """A number twice, or a pair as it is."""
    if isinstance(value, list | tuple):
        first, second = value
        return int(first), int(second)
    return int(value), int(value)


class CNNEncoder(Encoder):
    """``{"obs": (B, *input_dims)}`` to ``{"encoder_out": (B, D)}``; see :class:`CNNEncoderConfig`."""

    def __init__(self, config: CNNEncoderConfig) -> None:
        super().__init__(config)
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleDict()
        self.activations = nn.ModuleDict()
        plan = []
        for i, layer in enumerate(config.convolutions()):
            left, right, top, bottom = layer.pad
            even = left == right and top == bottom
            conv = nn.Conv2d(
                layer.channels_in,
                layer.channels_out,
                layer.kernel,
                layer.stride,
                padding=(top, left) if even else 0,
                bias=config.cnn_use_bias,
            )
            initialize_layer(conv, config, "cnn_kernel", "cnn_bias")
            self.convs.append(conv)
            norm = None
            if config.cnn_use_layernorm:
                norm = nn.LayerNorm((layer.channels_out, *layer.size_out), eps=LAYERNORM_EPS)
                self.norms[str(i)] = norm
            activation = get_activation(config.cnn_activation)
            if isinstance(activation, nn.Module):
                self.activations[str(i)] = activation
            plan.append((conv, None if even else layer.pad, norm, activation))
        self._plan = tuple(plan)
        self._dense: Plan | None = None
        if config.dense_layer_dims:
            self.dense = _dense_settings(config).build()
            self._dense = self.dense.plan
        self._flatten = config.flatten_at_end
        self.images = images_of(config)
        self._uint8_scale = config.uint8_scale

    def forward(self, batch: Mapping[str, Any], **kwargs: object) -> dict[str, Any]:
        """Encode ``batch["obs"]``."""
        return {ENCODER_OUT: self.encode(self.images(batch[Columns.OBS]))}

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """What is made of images ``(B, C, H, W)``."""
        scale = self._uint8_scale if x.dtype is torch.uint8 else None
        dtype = self._plan[0][0].weight.dtype if self._plan else torch.float32
        if x.dtype is not dtype:
            x = x.to(dtype)
        for conv, pad, norm, activation in self._plan:
            if pad is not None:
                x = F.pad(x, pad)
            if scale is not None:  # scaling the first kernel is cheaper than scaling every frame
                x = F.conv2d(x, conv.weight * scale, conv.bias, conv.stride, conv.padding)
                scale = None
            else:
                x = conv(x)
            if norm is not None:
                x = norm(x)
            if activation is not None:
                x = activation(x)
        if scale is not None:
            x = x * scale
        x = x.permute(0, 2, 3, 1)  # flattened as it lies in memory: no copy here, none in the backward pass
        if not self._flatten:
            return x
        x = x.flatten(1)
        return x if self._dense is None else run_plan(self._dense, x)


def images_of(config: CNNEncoderConfig) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function from observations ``(B, *input_dims)`` to images ``(B, C, H, W)``, with channels last in memory.

    The kernels are about twice as fast so.
    """
    rank, axis = len(config.input_dims), height_axis(config.input_dims, config.channels_first)
    if rank == 2:
        return lambda x: x.unsqueeze(1)
    if rank == 3 and axis:
        return lambda x: x.contiguous(memory_format=torch.channels_last)
    if rank == 3:
        return lambda x: x.permute(0, 3, 1, 2)
    others = [1 + other for other in range(rank) if other not in (axis, axis + 1)]
    order = (0, axis + 1, axis + 2, *others)
    return lambda x: x.permute(order).flatten(3).permute(0, 3, 1, 2)


def _dense_settings(config: CNNEncoderConfig) -> MLPSettings:
    height, width, channels = config.conv_output_dims
    return MLPSettings(
        input_dims=(height * width * channels,),
        hidden_layer_dims=config.dense_layer_dims,
        hidden_layer_activation=config.cnn_activation,
        hidden_layer_use_bias=config.cnn_use_bias,
        hidden_layer_weights_initializer=config.cnn_kernel_initializer,
        hidden_layer_weights_initializer_config=config.cnn_kernel_initializer_config,
        hidden_layer_bias_initializer=config.cnn_bias_initializer,
        hidden_layer_bias_initializer_config=config.cnn_bias_initializer_config,
    )
