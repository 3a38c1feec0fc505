"""Multi-layer perceptrons: their settings, the flat loop that runs them, and the MLP encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from attrs import define, field
from torch import nn

from rlkit_core.columns import ENCODER_OUT, Columns
from rlkit_core.distributions.units import size_of
from rlkit_core.errors import ConfigError
from rlkit_core.frameworks import TORCH, build_with
from rlkit_core.models.base import Encoder, ModelConfig, check_framework
from rlkit_core.models.default_config import effective_model_config
from rlkit_core.models.initializers import get_activation, initialize_layer

LAYERNORM_EPS = 1e-3  # RLlib's, which follows TensorFlow's default

#: One layer of a flat loop: linear map, layer norm or None, activation or None.
Plan = tuple[tuple[nn.Linear, nn.LayerNorm | None, Any], ...]


def int_tuple(value: Sequence[int]) -> tuple[int, ...]:
    """Convert a sequence of sizes to a tuple.

    Raises:
        ConfigError: it is none.
    """
    try:
        return tuple(int(n) for n in value)
    except (TypeError, ValueError):
        raise ConfigError(
            f"widths of layers (fcnet_hiddens and the like): expected whole numbers, such as [64, 64], got {value!r}"
        ) from None


@define(slots=False, kw_only=True)
class MLPSettings(ModelConfig):
    """Fields of every config that holds an MLP; see :class:`MLPEncoderConfig`."""

    input_dims: Any = None
    always_check_shapes: bool = False
    hidden_layer_dims: tuple[int, ...] = field(default=(256, 256), converter=int_tuple)
    hidden_layer_use_bias: bool = True
    hidden_layer_activation: Any = "relu"
    hidden_layer_use_layernorm: bool = False
    hidden_layer_weights_initializer: Any = None
    hidden_layer_weights_initializer_config: dict[str, Any] | None = None
    hidden_layer_bias_initializer: Any = None
    hidden_layer_bias_initializer_config: dict[str, Any] | None = None
    output_layer_dim: int | None = None
    output_layer_use_bias: bool = True
    output_layer_activation: Any = "linear"
    output_layer_use_layernorm: bool = False
    output_layer_weights_initializer: Any = None
    output_layer_weights_initializer_config: dict[str, Any] | None = None
    output_layer_bias_initializer: Any = None
    output_layer_bias_initializer_config: dict[str, Any] | None = None

    @property
    def output_dims(self) -> tuple[int, ...]:
        """``(output_layer_dim,)``, or the last hidden size, or ``input_dims`` when there is no layer."""
        if self.output_layer_dim is not None:
            return (self.output_layer_dim,)
        if self.hidden_layer_dims:
            return (self.hidden_layer_dims[-1],)
        return int_tuple(self.input_dims)

    def _validate(self, framework: str = "torch") -> None:
        check_framework(self, framework)
        name = type(self).__name__
        if self.input_dims is None or len(self.input_dims) != 1:
            raise ConfigError(
                f"{name}: input_dims must be 1-D, such as (4,); got {self.input_dims!r}. Flatten the input first."
            )
        sizes = [*self.input_dims, *self.hidden_layer_dims]
        if self.output_layer_dim is not None:
            sizes.append(self.output_layer_dim)
        if any(size < 1 for size in sizes):
            raise ConfigError(f"{name}: layer sizes must be positive, got {sizes}")

    def build(self, framework: str = "torch") -> Any:
        """Return a new :class:`MLP`; encoders and heads return theirs."""
        self._validate(framework)
        return self.build_mlp()

    def build_mlp(self, output_dim: int | None = None) -> MLP:
        """Return a new MLP with these settings; ``output_dim`` replaces the output layer's size."""
        return MLP(self, int(self.input_dims[0]), self.output_layer_dim if output_dim is None else output_dim)


class MLP(nn.Module):
    """Linear layers, each with its norm and activation, run as one flat loop; the output layer may be left out."""

    def __init__(self, config: MLPSettings, input_dim: int, output_dim: int | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.norms = nn.ModuleDict()
        self.activations = nn.ModuleDict()
        plan = []
        size = input_dim
        for width in config.hidden_layer_dims:
            plan.append(self._add(config, "hidden", size, width))
            size = width
        if output_dim is not None:
            plan.append(self._add(config, "output", size, output_dim))
        self.plan: Plan = tuple(plan)

    def _add(self, config: MLPSettings, kind: str, size: int, width: int) -> tuple[nn.Linear, nn.LayerNorm | None, Any]:
        def setting(name: str) -> Any:
            return getattr(config, f"{kind}_layer_{name}")

        layer = nn.Linear(size, width, bias=setting("use_bias"))
        initialize_layer(layer, config, f"{kind}_layer_weights", f"{kind}_layer_bias")
        index = str(len(self.layers))
        self.layers.append(layer)
        norm = None
        if setting("use_layernorm"):
            norm = nn.LayerNorm(width, eps=LAYERNORM_EPS)
            self.norms[index] = norm
        activation = get_activation(setting("activation"))
        if isinstance(activation, nn.Module):
            self.activations[index] = activation
        return layer, norm, activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(..., input_dim)`` to ``(..., output)``."""
        return run_plan(self.plan, x)


def run_plan(plan: Plan, x: torch.Tensor) -> torch.Tensor:
    """Run an MLP's layers without a module call for each; without layers, the identity."""
    for layer, norm, activation in plan:
        parameters = layer._parameters
        try:
            x = F.linear(x, parameters["weight"], parameters["bias"])  # type: ignore[arg-type]
        except KeyError:  # a parametrised layer (weight or spectral norm) computes its weight
            x = layer(x)
        if norm is not None:
            x = norm(x)
        if activation is not None:
            x = activation(x)
    return x


def to_float(x: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Cast ``x`` to the dtype of the first layer's weight (float32 when there is no layer)."""
    weight = plan[0][0]._parameters.get("weight") if plan else None
    dtype = torch.float32 if weight is None else weight.dtype
    return x if x.dtype is dtype else x.to(dtype)


def fcnet_settings(model_config: Mapping[str, Any], prefix: str = "fcnet") -> dict[str, Any]:
    """MLP fields from ``fcnet_*`` (or ``fusionnet_*``) settings: every layer is a hidden one."""
    return {
        "hidden_layer_dims": model_config[f"{prefix}_hiddens"],
        "hidden_layer_activation": model_config[f"{prefix}_activation"],
        "hidden_layer_use_layernorm": model_config.get(f"{prefix}_use_layernorm", False),
        "hidden_layer_weights_initializer": model_config[f"{prefix}_kernel_initializer"],
        "hidden_layer_weights_initializer_config": model_config[f"{prefix}_kernel_initializer_kwargs"],
        "hidden_layer_bias_initializer": model_config[f"{prefix}_bias_initializer"],
        "hidden_layer_bias_initializer_config": model_config[f"{prefix}_bias_initializer_kwargs"],
    }


def integer_scale(space: Any) -> float:
    """What uint8 observations of a Box are multiplied by, so that its largest bound becomes 1."""
    top = float(space.high.max()) if space.high.size else 0.0
    return 1.0 / top if top > 0.0 else 1.0


@define(slots=False, kw_only=True)
class MLPEncoderConfig(MLPSettings):
    """An MLP over flat observations.

    Args:
        input_dims: ``(D,)``.
        hidden_layer_dims: sizes of the hidden layers.
        hidden_layer_activation: ``torch.nn`` name, ``"linear"``, None or a callable; the ``output_layer_*``
            twins do the same for the output layer.
        hidden_layer_use_bias: whether layers have a bias.
        hidden_layer_use_layernorm: a layer norm before each activation.
        hidden_layer_weights_initializer: in-place function of ``torch.nn.init``, by name, or a callable; its
            arguments in ``..._config``; ``hidden_layer_bias_initializer`` alike.
        output_layer_dim: size of a last layer; None: no such layer. Without any layer it is the identity.
        observation_rank: trailing axes of an observation, flattened when not 1.
        uint8_scale: factor on uint8 observations.
    """

    observation_rank: int = 1
    uint8_scale: float = 1.0 / 255.0

    @classmethod
    def from_space(cls, space: Any, model_config: Mapping[str, Any]) -> MLPEncoderConfig:
        """Config for a Box (flattened if it is not of rank 1), from the ``fcnet_*`` settings."""
        settings = fcnet_settings(effective_model_config(model_config))
        return cls(
            input_dims=(size_of(space),),
            observation_rank=len(space.shape),
            uint8_scale=integer_scale(space),
            **settings,
        )

    def checked_dims(self) -> Any:
        """``input_dims``, unless observations are flattened first."""
        return self.input_dims if self.observation_rank == 1 else None

    def build(self, framework: str = "torch") -> Any:
        """Return a new :class:`MLPEncoder`, or that of another framework."""
        self._validate()
        return MLPEncoder(self) if framework == TORCH else build_with(framework, self)


class MLPEncoder(Encoder):
    """``{"obs": (..., D)}`` to ``{"encoder_out": (..., H)}``; see :class:`MLPEncoderConfig`."""

    def __init__(self, config: MLPEncoderConfig) -> None:
        super().__init__(config)
        self.net = config.build_mlp()
        #: Its layers, for :func:`run_plan`.
        self.plan: Plan = self.net.plan
        self._rank = config.observation_rank
        self._uint8_scale = config.uint8_scale

    @property
    def is_plain(self) -> bool:
        """Whether its layers are all there is to it for float32 observations."""
        return self._rank == 1

    def forward(self, batch: Mapping[str, Any], **kwargs: object) -> dict[str, Any]:
        """Encode ``batch["obs"]``."""
        x = batch[Columns.OBS]
        if x.dtype is not torch.float32 or self._rank != 1:
            scaled = x.dtype is torch.uint8
            x = to_float(x, self.plan)
            if scaled:
                x = x * self._uint8_scale
            if self._rank != 1:
                x = x.flatten(-self._rank) if self._rank else x.unsqueeze(-1)
        return {ENCODER_OUT: run_plan(self.plan, x)}
