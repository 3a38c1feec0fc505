"""Categorical distribution over ``n`` actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from gymnasium import spaces

from rlkit_core.distributions.base import Distribution, Shape, masked
from rlkit_core.distributions.deterministic import Deterministic
from rlkit_core.errors import ConfigError

if TYPE_CHECKING:
    import gymnasium as gym


def gumbel(
    shape: Shape,
    *,
    dtype: torch.dtype,
    device: torch.device | str | None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Standard Gumbel noise: ``argmax(logits + gumbel)`` is a draw from ``softmax(logits)``.

    The Gumbel-max trick: Gumbel (1954); Maddison, Tarlow, Minka, "A* Sampling" (2014).
    """
    draws = torch.empty(shape, dtype=dtype, device=device).exponential_(generator=generator)
    return draws.clamp_(min=torch.finfo(dtype).tiny).log_().neg_()


class Categorical(Distribution):
    """One of ``n`` actions, an int64 index counted from 0.

    Args:
        logits: unnormalised log-probabilities ``(..., n)``.
        probs: probabilities ``(..., n)``, instead of logits; rows need not sum to one.
        temperature: divides the logits; below 1 sharpens, above 1 flattens.

    Raises:
        ConfigError: both or neither of logits and probs; temperature not positive.
    """

    __slots__ = ("_log_probs", "logits")
    supports_mask = True

    def __init__(
        self,
        logits: torch.Tensor | None = None,
        probs: torch.Tensor | None = None,
        temperature: float = 1.0,
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
        self._log_probs: torch.Tensor | None = None

    @classmethod
    def from_logits(cls, logits: torch.Tensor, **kwargs: Any) -> Categorical:
        """Build from logits ``(..., n)``; ``temperature`` may be given."""
        if kwargs or cls.__init__ is not Categorical.__init__:
            return cls(logits, **kwargs)
        made = cls.__new__(cls)  # a minibatch makes one: no checks of what is not given
        made.logits, made._log_probs = logits, None
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
        log_probs = self._log_probs
        if log_probs is None:
            log_probs = self._log_probs = torch.log_softmax(self.logits, -1)
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
    def noise(
        cls,
        shape: Shape,
        logits_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Gumbel noise ``(*shape, logits_dim)``."""
        return gumbel((*shape, logits_dim), dtype=dtype, device=device, generator=generator)

    def sample(
        self,
        *,
        sample_shape: Shape | None = None,
        return_logp: bool = False,
        noise: torch.Tensor | None = None,
    ) -> Any:
        """Draw int64 actions of the batch shape, with ``sample_shape`` axes before it."""
        logits = self.logits
        if noise is None:
            shape = logits.shape if sample_shape is None else (*sample_shape, *logits.shape)
            noise = gumbel(tuple(shape), dtype=logits.dtype, device=logits.device)
        actions = torch.argmax((logits.detach() if logits.requires_grad else logits) + noise, -1)
        return (actions, self.logp(actions)) if return_logp else actions

    def rsample(self, *, sample_shape: Shape | None = None, return_logp: bool = False) -> Any:
        """Draw one-hot actions ``(..., n)`` with straight-through gradients to the probabilities.

        Bengio, Leonard, Courville, "Estimating or Propagating Gradients Through Stochastic Neurons" (2013).
        """
        actions = self.sample(sample_shape=sample_shape)
        probs = self.probs
        hard = torch.nn.functional.one_hot(actions, probs.shape[-1]).to(probs.dtype)
        one_hot = hard + (probs - probs.detach())
        return (one_hot, self.logp(actions)) if return_logp else one_hot

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

    def to_deterministic(self) -> Deterministic:
        """Always the most probable action."""
        return Deterministic(torch.argmax(self.logits, -1), event_dims=0)

    @classmethod
    def mask_logits(cls, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Mask with ``(..., n)`` entries, true (non-zero) where an action is legal."""
        return masked(logits, mask)
