"""Gaussian distributions with a diagonal covariance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces

from rlkit_core.distributions.base import Array, Distribution, Shape
from rlkit_core.distributions.deterministic import Deterministic
from rlkit_core.distributions.units import size_of
from rlkit_core.errors import ConfigError

if TYPE_CHECKING:
    import gymnasium as gym

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
HALF_LOG_2PI_E = 0.5 + HALF_LOG_2PI


class GaussianNoise(Distribution):
    """What distributions made of a diagonal Gaussian share: means and log scales from a head, and normal noise."""

    __slots__ = ()

    @classmethod
    def required_input_dim(
        cls, space: gym.Space[Any], model_config: Mapping[str, Any] | None = None, **kwargs: object
    ) -> int:
        """Return ``2 * prod(space.shape)`` of a floating-point Box.

        Raises:
            ConfigError: the space is no such Box.
        """
        if not isinstance(space, spaces.Box):
            raise ConfigError(f"{cls.__name__}: expected a Box action space, got {space}")
        if not np.issubdtype(space.dtype, np.floating):
            raise ConfigError(
                f"{cls.__name__}: expected a Box of floats, got dtype {space.dtype}; use MultiDiscrete for integer "
                "actions"
            )
        return 2 * size_of(space)

    @classmethod
    def noise_dim(cls, logits_dim: int) -> int:
        """One number for each mean."""
        return logits_dim // 2

    @classmethod
    def normal_noise(cls, logits_dim: int) -> list[int]:
        """All of them."""
        return list(range(cls.noise_dim(logits_dim)))

    @classmethod
    def fill_noise(cls, out: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Standard normal noise."""
        return out.normal_(generator=generator)


class DiagGaussian(GaussianNoise):
    """Independent normal variables; a raw action is their vector.

    Args:
        loc: means ``(..., k)``.
        scale: standard deviations, a tensor that broadcasts to ``loc`` or a number.
        log_scale: their logarithm, where it is known already (``scale`` may then be None).
    """

    __slots__ = ("_scale", "loc", "log_scale")

    def __init__(
        self, loc: torch.Tensor, scale: torch.Tensor | float | None = 1.0, *, log_scale: torch.Tensor | None = None
    ) -> None:
        self.loc = loc
        self._scale: torch.Tensor | None
        if log_scale is None:
            if not isinstance(scale, torch.Tensor):
                scale = torch.full_like(loc, 1.0 if scale is None else scale)
            elif scale.shape != loc.shape:
                scale = scale.expand_as(loc)
            self._scale = scale
            log_scale = scale.log()
        else:
            self._scale = None
        self.log_scale: torch.Tensor = log_scale

    @classmethod
    def from_logits(cls, logits: torch.Tensor, **kwargs: object) -> DiagGaussian:
        """Build from ``(..., 2k)``: means, then log standard deviations."""
        loc, log_scale = logits.chunk(2, -1)
        return cls(loc, None, log_scale=log_scale)

    @property
    def scale(self) -> torch.Tensor:
        """Standard deviations ``(..., k)``."""
        scale = self._scale
        if scale is None:
            scale = self._scale = self.log_scale.exp()
        return scale

    @property
    def event_shape(self) -> Shape:
        """``(k,)``."""
        return tuple(self.loc.shape[-1:])

    def draw(self, sample_shape: Shape | None, noise: torch.Tensor | None) -> torch.Tensor:
        """Draw ``(..., k)``: ``loc + scale * noise``, without gradients."""
        if noise is None:
            noise = self.fresh_noise(self.loc, sample_shape)
        actions = self.loc + self.scale * noise
        return actions.detach() if actions.requires_grad else actions

    def draw_with_gradients(self, sample_shape: Shape | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw ``loc + scale * noise`` with gradients to both."""
        actions = self.loc + self.scale * self.fresh_noise(self.loc, sample_shape)
        return actions, actions

    def logp(self, value: torch.Tensor) -> torch.Tensor:
        """Log-density, summed over the last axis."""
        log_scale = self.log_scale
        z = (value - self.loc) * (-log_scale).exp()
        return (z * z * -0.5 - log_scale).sum(-1) - HALF_LOG_2PI * self.loc.shape[-1]

    def entropy(self) -> torch.Tensor:
        """Differential entropy in nats; the batch shape."""
        return self.log_scale.sum(-1) + HALF_LOG_2PI_E * self.loc.shape[-1]

    def kl(self, other: DiagGaussian) -> torch.Tensor:
        """``KL(self || other)``; the batch shape."""
        delta = self.log_scale - other.log_scale
        z = (self.loc - other.loc) * (-other.log_scale).exp()
        return ((torch.exp(2.0 * delta) + z * z - 1.0) * 0.5 - delta).sum(-1)

    @classmethod
    def mode_of(cls, logits: torch.Tensor) -> torch.Tensor:
        """The mean."""
        return logits.narrow(-1, 0, logits.shape[-1] // 2)

    @classmethod
    def draw_rows(cls, inputs: Array, noise: Array | None) -> Array:
        """Vectors ``[N, k]``."""
        width = inputs.shape[-1] // 2
        loc = inputs[:, :width]
        return loc if noise is None else loc + np.exp(inputs[:, width:]) * noise

    def to_deterministic(self) -> Deterministic:
        """Always the mean."""
        return Deterministic(self.loc)
