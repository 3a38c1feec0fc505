"""Heads: from an encoder's output to distribution inputs or values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch
from attrs import define
from torch import nn

from rlkit_core.errors import ConfigError
from rlkit_core.frameworks import TORCH, build_with
from rlkit_core.models.base import Head
from rlkit_core.models.default_config import effective_model_config
from rlkit_core.models.mlp import MLPSettings, Plan, fcnet_settings, run_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = np.ndarray[Any, Any]


@define(slots=False, kw_only=True)
class MLPHeadConfig(MLPSettings):
    """An MLP over an encoder's output; fields as in :class:`MLPEncoderConfig`.

    Args:
        clip_log_std: clamp the second half of the output (log standard deviations) to
            ``[-log_std_clip_param, log_std_clip_param]``.
        log_std_clip_param: that bound.
    """

    clip_log_std: bool = False
    log_std_clip_param: float = 20.0

    @classmethod
    def from_dims(cls, input_dims: Sequence[int], output_dim: int, model_config: Mapping[str, Any]) -> MLPHeadConfig:
        """Config from the ``head_*`` settings; ``clip_log_std`` is taken where the settings carry it."""
        return cls(**cls._settings(input_dims, output_dim, model_config))

    @classmethod
    def _settings(cls, input_dims: Sequence[int], output_dim: int, model_config: Mapping[str, Any]) -> dict[str, Any]:
        config = effective_model_config(model_config)
        settings = {**fcnet_settings(config, "head_fcnet"), "input_dims": input_dims}
        settings["output_layer_dim"] = output_dim
        for part, name in (("weights", "kernel"), ("bias", "bias")):
            own = config[f"head_output_{name}_initializer"]
            own_kwargs = config[f"head_output_{name}_initializer_kwargs"]
            if own is None:  # as the hidden layers, with the output layer's arguments where it has some
                own = config[f"head_fcnet_{name}_initializer"]
                own_kwargs = own_kwargs or config[f"head_fcnet_{name}_initializer_kwargs"]
            settings[f"output_layer_{part}_initializer"] = own
            settings[f"output_layer_{part}_initializer_config"] = own_kwargs
        settings["clip_log_std"] = config.get("clip_log_std", False)
        settings["log_std_clip_param"] = config["log_std_clip_param"]
        return settings

    def build(self, framework: str = "torch") -> Any:
        """Return a new :class:`MLPHead`, or that of another framework."""
        self._validate()
        return MLPHead(self) if framework == TORCH else build_with(framework, self)


class MLPHead(Head):
    """``(..., D)`` to ``(..., output_layer_dim)``; see :class:`MLPHeadConfig`."""

    def __init__(self, config: MLPHeadConfig) -> None:
        super().__init__(config)
        self.net = config.build_mlp()
        #: Its layers, for :func:`run_plan`.
        self.plan: Plan = self.net.plan
        self._clips = config.clip_log_std
        if self._clips:
            size, bound = config.output_dims[0], config.log_std_clip_param
            if size % 2:
                raise ConfigError(f"clip_log_std: the output must be even (means, log standard deviations), got {size}")
            low = torch.full((size,), -float("inf"))
            low[size // 2 :] = -bound
            self.register_buffer("low", low, persistent=False)  # derived, hence not in the state
            self.register_buffer("high", -low, persistent=False)

    @property
    def is_plain(self) -> bool:
        """Whether its layers are all there is to it."""
        return not self._clips

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map an encoder's output."""
        return self.finish(run_plan(self.plan, x))

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        """What comes behind the layers."""
        return torch.clamp(x, self._buffers["low"], self._buffers["high"]) if self._clips else x

    def finish_rows(self) -> Callable[[Array], Array]:
        """:meth:`finish` for numpy rows of its own, ``(N, D)`` float32."""
        half = self.config.output_dims[0] // 2
        low, high = _bounds(self.config.log_std_clip_param)

        def clip(x: Array) -> Array:
            log_std = x[:, half:]
            np.minimum(log_std, high, out=log_std)
            np.maximum(log_std, low, out=log_std)
            return x

        return clip if self._clips else lambda x: x


@define(slots=False, kw_only=True)
class FreeLogStdMLPHeadConfig(MLPHeadConfig):
    """An MLP for the means, and one learned log standard deviation for each, the same in every state.

    The output is twice the number of means: ``output_layer_dim`` (or the last hidden size) must be even.

    Args:
        log_std_init: where the log standard deviations start.
    """

    log_std_init: float = 0.0

    @classmethod
    def from_dims(
        cls, input_dims: Sequence[int], output_dim: int, model_config: Mapping[str, Any]
    ) -> FreeLogStdMLPHeadConfig:
        """Config from the ``head_*`` settings and ``log_std_init``."""
        start = effective_model_config(model_config)["log_std_init"]
        return cls(**cls._settings(input_dims, output_dim, model_config), log_std_init=start)

    def _validate(self, framework: str = "torch") -> None:
        super()._validate(framework)
        if self.output_dims[0] % 2:
            raise ConfigError(
                f"{type(self).__name__}: the output must be even (a mean and a log standard deviation for "
                f"each action), got {self.output_dims[0]}"
            )

    def build(self, framework: str = "torch") -> Any:
        """Return a new :class:`FreeLogStdMLPHead`, or that of another framework."""
        self._validate()
        return FreeLogStdMLPHead(self) if framework == TORCH else build_with(framework, self)


class FreeLogStdMLPHead(Head):
    """``(..., D)`` to ``(..., 2k)``: means from the MLP, log standard deviations from a parameter."""

    def __init__(self, config: FreeLogStdMLPHeadConfig) -> None:
        super().__init__(config)
        half = config.output_dims[0] // 2
        if config.output_layer_dim is not None:
            self.net = config.build_mlp(output_dim=half)
        else:
            shorter = attrs.evolve(config, hidden_layer_dims=(*config.hidden_layer_dims[:-1], half))
            self.net = shorter.build_mlp()
        #: The means' layers, for :func:`run_plan`.
        self.plan: Plan = self.net.plan
        self.log_std = nn.Parameter(torch.full((half,), float(config.log_std_init)))
        self._bound = config.log_std_clip_param if config.clip_log_std else None

    @property
    def is_plain(self) -> bool:
        """Whether its layers are all there is to it."""
        return False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map an encoder's output ``(B, D)`` or ``(B, T, D)``."""
        return self.finish(run_plan(self.plan, x))

    def finish_rows(self) -> Callable[[Array], Array]:
        """:meth:`finish` for numpy rows ``(N, k)`` float32, with the parameter of now."""
        log_std = self.log_std.detach().numpy().copy()
        if self._bound is not None:
            low, high = _bounds(self._bound)
            log_std = np.maximum(np.minimum(log_std, high), low)
        width = len(log_std)

        def whole(means: Array) -> Array:
            out = np.empty((len(means), 2 * width), np.float32)
            out[:, :width], out[:, width:] = means, log_std
            return out

        return whole

    def finish(self, means: torch.Tensor) -> torch.Tensor:
        """``(..., k)`` means, and the log standard deviations behind them."""
        log_std: torch.Tensor = self.log_std
        if self._bound is not None:
            log_std = log_std.clamp(-self._bound, self._bound)
        return torch.cat((means, log_std.expand_as(means)), -1)


def _bounds(bound: float) -> tuple[np.float32, np.float32]:
    return np.float32(-bound), np.float32(bound)
