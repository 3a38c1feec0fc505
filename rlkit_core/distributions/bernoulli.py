"""Independent bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from gymnasium import spaces

from rlkit_core.distributions.base import Distribution, Shape
from rlkit_core.distributions.deterministic import Deterministic
from rlkit_core.distributions.units import size_of
from rlkit_core.errors import ConfigError

if TYPE_CHECKING:
    import gymnasium as gym


class Bernoulli(Distribution):
    """``n`` independent bits, each 1 with probability ``sigmoid(logit)``; a raw action is int8 ``(..., n)``.

    Args:
        logits: log-odds ``(..., n)``.
    """

    __slots__ = ("logits",)
    supports_mask = True

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits

    @classmethod
    def from_logits(cls, logits: torch.Tensor, **kwargs: object) -> Bernoulli:
        """Build from log-odds ``(..., n)``."""
        return cls(logits)

    @classmethod
    def required_input_dim(
        cls, space: gym.Space[Any], model_config: Mapping[str, Any] | None = None, **kwargs: object
    ) -> int:
        """Return the number of bits of a MultiBinary space."""
        if not isinstance(space, spaces.MultiBinary):
            raise ConfigError(f"{cls.__name__}: expected a MultiBinary action space, got {space}")
        return size_of(space)

    @property
    def probs(self) -> torch.Tensor:
        """Probabilities of a 1, ``(..., n)``."""
        return torch.sigmoid(self.logits)

    @property
    def event_shape(self) -> Shape:
        """``(n,)``."""
        return tuple(self.logits.shape[-1:])

    @classmethod
    def noise_dim(cls, logits_dim: int) -> int:
        """One number for each bit."""
        return logits_dim

    @classmethod
    def fill_noise(cls, out: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Standard logistic noise: a bit is set where it lies below the logit."""
        uniform = out.uniform_(generator=generator).clamp_(min=torch.finfo(out.dtype).tiny)
        return uniform.log() - torch.log1p(-uniform)

    def draw(self, sample_shape: Shape | None, noise: torch.Tensor | None) -> torch.Tensor:
        """Draw int8 bits ``(..., n)``."""
        if noise is None:
            noise = self.fresh_noise(self.logits, sample_shape)
        return (noise < self.logits).to(torch.int8)

    def draw_with_gradients(self, sample_shape: Shape | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw bits as floats with straight-through gradients to the probabilities."""
        actions = self.draw(sample_shape, None)
        probs = self.probs
        return actions.to(probs.dtype) + (probs - probs.detach()), actions

    def logp(self, value: torch.Tensor) -> torch.Tensor:
        """Log-probability of bit vectors, summed over the last axis."""
        logits = self.logits
        return (value.to(logits.dtype) * logits - F.softplus(logits)).sum(-1)

    def entropy(self) -> torch.Tensor:
        """Entropy in nats; the batch shape."""
        logits = self.logits
        return (F.softplus(logits) - torch.sigmoid(logits) * logits).sum(-1)

    def kl(self, other: Bernoulli) -> torch.Tensor:
        """``KL(self || other)``; the batch shape."""
        p, q = self.logits, other.logits
        return (torch.sigmoid(p) * (p - q) - F.softplus(p) + F.softplus(q)).sum(-1)

    def to_deterministic(self) -> Deterministic:
        """Each bit at its more probable value."""
        return Deterministic((self.logits > 0).to(torch.int8))
