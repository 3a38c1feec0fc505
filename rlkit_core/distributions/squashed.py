"""A Gaussian squashed by tanh into a bounded interval."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from rlkit_core.distributions.base import Shape
from rlkit_core.distributions.deterministic import Deterministic
from rlkit_core.distributions.gaussian import DiagGaussian, GaussianNoise
from rlkit_core.errors import ConfigError

if TYPE_CHECKING:
    import gymnasium as gym

LOG_2 = math.log(2.0)
MIN_LOG_SCALE, MAX_LOG_SCALE = -20.0, 2.0


class SquashedGaussian(GaussianNoise):
    """``low + (high - low) * (tanh(u) + 1) / 2`` for a diagonal Gaussian ``u``.

    Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (2018), appendix C; the logarithm of the
    Jacobian is written with softplus, which stays exact where ``tanh`` saturates.

    Args:
        loc: means of ``u``, ``(..., k)``.
        scale: standard deviations of ``u``, a tensor or a number.
        low: lower end of the actions, a number or a tensor ``(k,)``; ``high`` alike.
        log_scale: the logarithm of ``scale``, where it is known already.
    """

    __slots__ = ("_normal", "high", "low")

    def __init__(
        self,
        loc: torch.Tensor,
        scale: torch.Tensor | float | None = 1.0,
        low: Any = -1.0,
        high: Any = 1.0,
        *,
        log_scale: torch.Tensor | None = None,
    ) -> None:
        self._normal = DiagGaussian(loc, scale, log_scale=log_scale)
        self.low = low if isinstance(low, int | float) else torch.as_tensor(low).to(loc)
        self.high = high if isinstance(high, int | float) else torch.as_tensor(high).to(loc)

    @classmethod
    def from_logits(
        cls, logits: torch.Tensor, low: torch.Tensor | float = -1.0, high: torch.Tensor | float = 1.0, **kwargs: object
    ) -> SquashedGaussian:
        """Build from ``(..., 2k)``: means, then log standard deviations, which are clamped to [-20, 2]."""
        loc, log_scale = logits.chunk(2, -1)
        return cls(loc, None, low, high, log_scale=log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE))

    @property
    def loc(self) -> torch.Tensor:
        """Means before squashing."""
        return self._normal.loc

    @property
    def scale(self) -> torch.Tensor:
        """Standard deviations before squashing."""
        return self._normal.scale

    @property
    def event_shape(self) -> Shape:
        """``(k,)``."""
        return self._normal.event_shape

    def sample(
        self, *, sample_shape: Shape | None = None, return_logp: bool = False, noise: torch.Tensor | None = None
    ) -> Any:
        """Draw actions in ``[low, high]``; ``return_logp`` scores them exactly, saturated or not."""
        u = self._normal.sample(sample_shape=sample_shape, noise=noise)
        actions = self._squash(u).detach()
        return (actions, self._logp_of_unsquashed(u)) if return_logp else actions

    def rsample(self, *, sample_shape: Shape | None = None, return_logp: bool = False) -> Any:
        """Draw with gradients to loc and scale."""
        u = self._normal.rsample(sample_shape=sample_shape)
        actions = self._squash(u)
        return (actions, self._logp_of_unsquashed(u)) if return_logp else actions

    def logp(self, value: torch.Tensor) -> torch.Tensor:
        """Log-density of actions, summed over the last axis.

        A floating-point action at the very edge stands for a half line of ``u``. There the density is taken at
        the edge's last distinguishable point, with ``u`` at its most probable place on the half line: finite, and
        without a gradient that would drag ``loc`` back.
        """
        loc = self._normal.loc
        y = (value - self.low) * (2.0 / (self.high - self.low)) - 1.0
        last = 1.0 - torch.finfo(loc.dtype).eps
        u = torch.atanh(y.clamp(-last, last))
        edge = math.atanh(last)
        centre = loc.detach()
        at = torch.where(y >= last, torch.maximum(u, centre), u)
        at = torch.where(y <= -last, torch.minimum(u, centre), at)
        u = u.clamp(-edge, edge)
        return self._normal.logp(at) - self._log_slope(u).sum(-1)

    def entropy(self) -> torch.Tensor:
        """Refuse: there is no closed form."""
        raise ConfigError(
            "SquashedGaussian has no entropy in closed form; estimate it by -logp of samples (sample(return_logp=True))"
        )

    def kl(self, other: object) -> torch.Tensor:
        """Refuse: there is no closed form."""
        raise ConfigError("SquashedGaussian has no KL divergence in closed form; estimate it from samples")

    def to_deterministic(self) -> Deterministic:
        """Always the squashed mean, an action inside the bounds."""
        return Deterministic(self._squash(self._normal.loc))

    @classmethod
    def to_env(cls, actions: object, space: gym.Space[Any], *, normalize: bool = True, clip: bool = True) -> Any:
        """As the base class; actions are in the environment's units already where ``low``, ``high`` are bound."""
        own_units = "low" in cls.bound_kwargs or "high" in cls.bound_kwargs
        return super().to_env(actions, space, normalize=normalize and not own_units, clip=clip)

    def _squash(self, u: torch.Tensor) -> torch.Tensor:
        squashed: torch.Tensor = self.low + (torch.tanh(u) + 1.0) * ((self.high - self.low) * 0.5)
        return squashed

    def _log_slope(self, u: torch.Tensor) -> torch.Tensor:
        """Log of the derivative of the squashing at ``u``, element by element."""
        half = (self.high - self.low) * 0.5
        log_half = half.log() if isinstance(half, torch.Tensor) else math.log(half)
        return log_half + 2.0 * (LOG_2 - u - F.softplus(-2.0 * u))

    def _logp_of_unsquashed(self, u: torch.Tensor) -> torch.Tensor:
        return self._normal.logp(u) - self._log_slope(u).sum(-1)
