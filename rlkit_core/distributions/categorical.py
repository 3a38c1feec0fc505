"""Categorical distribution over ``n`` actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from gymnasium import spaces

from rlkit_core.distributions.base import Array, Distribution, Shape
from rlkit_core.distributions.deterministic import Deterministic
from rlkit_core.errors import ConfigError

if TYPE_CHECKING:
    import gymnasium as gym


class Categorical(Distribution):
    """One of ``n`` actions, an int64 index counted from 0.

    Args:
        logits: unnormalised log-probabilities ``(..., n)``.
        probs: probabilities ``(..., n)``, instead of logits; rows need not sum to one.
        temperature: divides the logits; below 1 sharpens, above 1 flattens.

    Raises:
        ConfigError: both or neither of logits and probs; temperature not positive.
    """

    __slots__ = ("cached_log_probs", "logits")
    supports_mask = True

    def __init__(
        self, logits: torch.Tensor | None = None, probs: torch.Tensor | None = None, temperature: float = 1.0
    ) -> None:
        if (logits is None) == (probs is None):
            raise ConfigError("Categorical: pass exactly one of logits and probs")
        if logits is None:
            assert probs is not None
            logits = probs.log()
        if temperature != 1.0:
            if not temperature > 0.0:
                raise ConfigError(f"Categorical: temperature must be positive, got {temperature!r}")
            logits = logits / temperature
        self.logits: torch.Tensor = logits
        self.cached_log_probs: torch.Tensor | None = None

    @classmethod
    def from_logits(cls, logits: torch.Tensor, **kwargs: Any) -> Categorical:
        """Build from logits ``(..., n)``; ``temperature`` may be given."""
        if kwargs or cls.__init__ is not Categorical.__init__:
            return cls(logits, **kwargs)
        made = cls.__new__(cls)  # a minibatch makes one: no checks of what is not given
        made.logits, made.cached_log_probs = logits, None
        return made

    @classmethod
    def required_input_dim(
        cls, space: gym.Space[Any], model_config: Mapping[str, Any] | None = None, **kwargs: object
    ) -> int:
        """Return ``space.n`` of a Discrete space."""
        if not isinstance(space, spaces.Discrete):
            raise ConfigError(f"{cls.__name__}: expected a Discrete action space, got {space}")
        return int(space.n)

    @property
    def log_probs(self) -> torch.Tensor:
        """Normalised log-probabilities ``(..., n)``, computed once."""
        log_probs = self.cached_log_probs
        if log_probs is None:
            log_probs = self.cached_log_probs = torch.log_softmax(self.logits, -1)
        return log_probs

    @property
    def probs(self) -> torch.Tensor:
        """Probabilities ``(..., n)``."""
        return self.log_probs.exp()

    @property
    def event_shape(self) -> Shape:
        """A scalar."""
        return ()

    @classmethod
    def noise_dim(cls, logits_dim: int) -> int:
        """One number for each logit."""
        return logits_dim

    @classmethod
    def fill_noise(cls, out: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Gumbel noise: ``argmax(logits + noise)`` is a draw from ``softmax(logits)``.

        The Gumbel-max trick: Gumbel (1954); Maddison, Tarlow, Minka, "A* Sampling" (2014).
        """
        out = out.exponential_(generator=generator)
        return out.clamp_(min=torch.finfo(out.dtype).tiny).log_().neg_()

    def draw(self, sample_shape: Shape | None, noise: torch.Tensor | None) -> torch.Tensor:
        """Draw int64 actions of the batch shape, with ``sample_shape`` axes before it."""
        logits = self.logits
        if noise is None:
            noise = self.fresh_noise(logits, sample_shape)
        return torch.argmax((logits.detach() if logits.requires_grad else logits) + noise, -1)

    def draw_with_gradients(self, sample_shape: Shape | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw one-hot actions ``(..., n)`` with straight-through gradients to the probabilities.

        Bengio, Leonard, Courville, "Estimating or Propagating Gradients Through Stochastic Neurons" (2013).
        """
        actions = self.draw(sample_shape, None)
        probs = self.probs
        hard = torch.nn.functional.one_hot(actions, probs.shape[-1]).to(probs.dtype)
        return hard + (probs - probs.detach()), actions

    def logp(self, value: torch.Tensor) -> torch.Tensor:
        """Log-probability of indices; extra leading axes of ``value`` are independent draws."""
        log_probs = self.log_probs
        if value.dtype is not torch.int64:
            value = value.long()
        if value.dim() != log_probs.dim() - 1 or value.shape != log_probs.shape[:-1]:
            value = value + torch.zeros_like(log_probs[..., 0], dtype=torch.int64)  # broadcast
            log_probs = log_probs.expand(*value.shape, log_probs.shape[-1])
        return log_probs.gather(-1, value.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> torch.Tensor:
        """Entropy in nats; the batch shape."""
        log_probs = self.log_probs
        finite = log_probs.clamp(min=torch.finfo(log_probs.dtype).min)  # 0 * -inf must count as 0
        return -(log_probs.exp() * finite).sum(-1)

    def kl(self, other: Categorical) -> torch.Tensor:
        """``KL(self || other)``; the batch shape."""
        log_p, log_q = self.log_probs, other.log_probs
        lowest = torch.finfo(log_p.dtype).min
        return (log_p.exp() * (log_p.clamp(min=lowest) - log_q.clamp(min=lowest))).sum(-1)

    @classmethod
    def mode_of(cls, logits: torch.Tensor) -> torch.Tensor:
        """The most probable action."""
        return torch.argmax(logits, -1)

    @classmethod
    def draw_rows(cls, inputs: Array, noise: Array | None) -> Array:
        """Indices ``[N]`` int64."""
        actions: Array = (inputs if noise is None else inputs + noise).argmax(-1)
        return actions

    def to_deterministic(self) -> Deterministic:
        """Always the most probable action."""
        return Deterministic(torch.argmax(self.logits, -1), event_dims=0)
