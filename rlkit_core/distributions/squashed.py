"""A Gaussian squashed by tanh into a bounded interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces

from rlkit_core.distributions.base import Array, Distribution, Shape
from rlkit_core.distributions.deterministic import Deterministic
from rlkit_core.distributions.gaussian import DiagGaussian, GaussianNoise
from rlkit_core.errors import ConfigError

if TYPE_CHECKING:
    import gymnasium as gym

LOG_2 = math.log(2.0)
MIN_LOG_SCALE, MAX_LOG_SCALE = -20.0, 2.0
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
_WEIGHTS = _WEIGHTS / math.sqrt(2.0 * math.pi)  # those of a mean under the standard normal


class SquashedGaussian(GaussianNoise):
    """``low + (high - low) * (tanh(u) + 1) / 2`` for a diagonal Gaussian ``u``.

    Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (2018), appendix C; the logarithm of the
    Jacobian is written with softplus, which stays exact where ``tanh`` saturates.

    Args:
        loc: means of ``u``, ``(..., k)``.
        scale: standard deviations of ``u``, a tensor or a number.
        low: lower end of the actions, a number or a tensor ``(k,)``; ``high`` alike.
        log_scale: the logarithm of ``scale``, where it is known already.

    Attributes:
        normal: the Gaussian of ``u``.
    """

    __slots__ = ("high", "low", "normal")

    def __init__(
        self,
        loc: torch.Tensor,
        scale: torch.Tensor | float | None = 1.0,
        low: Any = -1.0,
        high: Any = 1.0,
        *,
        log_scale: torch.Tensor | None = None,
    ) -> None:
        self.normal = DiagGaussian(loc, scale, log_scale=log_scale)
        self.low = low if isinstance(low, int | float) else torch.as_tensor(low).to(loc)
        self.high = high if isinstance(high, int | float) else torch.as_tensor(high).to(loc)

    @classmethod
    def from_logits(
        cls, logits: torch.Tensor, low: torch.Tensor | float = -1.0, high: torch.Tensor | float = 1.0, **kwargs: object
    ) -> SquashedGaussian:
        """Build from ``(..., 2k)``: means, then log standard deviations, which are clamped to [-20, 2]."""
        loc, log_scale = logits.chunk(2, -1)
        return cls(loc, None, low, high, log_scale=log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE))

    @classmethod
    def for_space(
        cls,
        space: gym.Space[Any],
        model_config: Mapping[str, Any] | None = None,
        child: Callable[[Any, tuple[str, ...]], type[Distribution]] | None = None,
    ) -> type[Distribution]:
        """Return the class for a Box: actions in [-1, 1], or in the Box's bounds where ``normalize_actions`` is off.

        Raises:
            ConfigError: the space is no Box, or has an element without bounds.
        """
        if not isinstance(space, spaces.Box) or not np.isfinite((space.low, space.high)).all():
            raise ConfigError(
                f"{cls.__name__}: expected a Box action space that is bounded in every element, got {space}; use "
                "'rlkit-core/diag-gaussian' for others, or gymnasium.wrappers.RescaleAction to bound it"
            )
        if (model_config or {}).get("normalize_actions", True):
            return cls
        return cls.get_partial_dist_cls(low=space.low.reshape(-1), high=space.high.reshape(-1))

    @property
    def loc(self) -> torch.Tensor:
        """Means before squashing."""
        return self.normal.loc

    @property
    def scale(self) -> torch.Tensor:
        """Standard deviations before squashing."""
        return self.normal.scale

    @property
    def event_shape(self) -> Shape:
        """``(k,)``."""
        return self.normal.event_shape

    def sample(
        self, *, sample_shape: Shape | None = None, return_logp: bool = False, noise: torch.Tensor | None = None
    ) -> Any:
        """Draw actions in ``[low, high]``; ``return_logp`` scores them exactly, saturated or not."""
        u = self.normal.sample(sample_shape=sample_shape, noise=noise)
        actions = self._squash(u).detach()
        return (actions, self._logp_of_unsquashed(u)) if return_logp else actions

    def rsample(self, *, sample_shape: Shape | None = None, return_logp: bool = False) -> Any:
        """Draw with gradients to loc and scale."""
        u = self.normal.rsample(sample_shape=sample_shape)
        actions = self._squash(u)
        return (actions, self._logp_of_unsquashed(u)) if return_logp else actions

    def logp(self, value: torch.Tensor) -> torch.Tensor:
        """Log-density of actions, summed over the last axis.

        A floating-point action at the very edge stands for a half line of ``u``. There the density is taken at
        the edge's last distinguishable point, with ``u`` at its most probable place on the half line: finite, and
        without a gradient that would drag ``loc`` back.
        """
        loc = self.normal.loc
        y = (value - self.low) * (2.0 / (self.high - self.low)) - 1.0
        last = 1.0 - torch.finfo(loc.dtype).eps
        u = torch.atanh(y.clamp(-last, last))
        edge = math.atanh(last)
        centre = loc.detach()
        at = torch.where(y >= last, torch.maximum(u, centre), u)
        at = torch.where(y <= -last, torch.minimum(u, centre), at)
        u = u.clamp(-edge, edge)
        return self.normal.logp(at) - self._log_slope(u).sum(-1)

    def entropy(self) -> torch.Tensor:
        """Entropy in nats, by Gauss-Hermite quadrature; the batch shape.

        There is no closed form. The quadrature draws nothing and is differentiable; its error for each element is below
        1e-7 for scales up to 1, 2e-4 up to 2, 0.02 up to 4 and 0.1 at the largest, exp(2). SAC's own estimate, which
        has no bias, is ``-logp`` of ``actions, logp = dist.rsample(return_logp=True)``.
        """
        loc, scale = self.normal.loc, self.normal.scale
        nodes = torch.as_tensor(_NODES).to(loc)
        weights = torch.as_tensor(_WEIGHTS).to(loc)
        u = loc.unsqueeze(-1) + scale.unsqueeze(-1) * nodes
        return self.normal.entropy() + ((_log_tanh_slope(u) * weights).sum(-1) + self._log_half()).sum(-1)

    def kl(self, other: SquashedGaussian) -> torch.Tensor:
        """``KL(self || other)``, exactly that of the Gaussians inside; the batch shape.

        Both have the same bounds.

        Raises:
            ConfigError: bounds that are plain numbers differ: one has actions that the other never draws.
        """
        for mine, its in ((self.low, other.low), (self.high, other.high)):
            if not isinstance(mine, torch.Tensor) and not isinstance(its, torch.Tensor) and mine != its:
                raise ConfigError(f"{type(self).__name__}.kl: the bounds differ ({mine} and {its})")
        return self.normal.kl(other.normal)

    @classmethod
    def draw_rows(cls, inputs: Array, noise: Array | None) -> Array:
        """Vectors ``[N, k]`` in [-1, 1]; it does not count where other bounds are bound to :meth:`from_logits`."""
        width = inputs.shape[-1] // 2
        u = inputs[:, :width]
        if noise is not None:
            u = u + np.exp(inputs[:, width:].clip(MIN_LOG_SCALE, MAX_LOG_SCALE)) * noise
        return np.tanh(u)

    def to_deterministic(self) -> Deterministic:
        """Always the squashed mean, an action inside the bounds."""
        return Deterministic(self._squash(self.normal.loc))

    @classmethod
    def to_env(cls, actions: object, space: gym.Space[Any], *, normalize: bool = True, clip: bool = True) -> Any:
        """As the base class; actions are in the environment's units already where ``low``, ``high`` are bound."""
        own_units = "low" in cls.bound_kwargs or "high" in cls.bound_kwargs
        return super().to_env(actions, space, normalize=normalize and not own_units, clip=clip)

    def _squash(self, u: torch.Tensor) -> torch.Tensor:
        squashed: torch.Tensor = self.low + (torch.tanh(u) + 1.0) * ((self.high - self.low) * 0.5)
        return squashed

    def _log_half(self) -> torch.Tensor | float:
        half = (self.high - self.low) * 0.5
        return half.log() if isinstance(half, torch.Tensor) else math.log(half)

    def _log_slope(self, u: torch.Tensor) -> torch.Tensor:
        """Log of the derivative of the squashing at ``u``, element by element."""
        return self._log_half() + _log_tanh_slope(u)

    def _logp_of_unsquashed(self, u: torch.Tensor) -> torch.Tensor:
        return self.normal.logp(u) - self._log_slope(u).sum(-1)


def _log_tanh_slope(u: torch.Tensor) -> torch.Tensor:
    """``log(1 - tanh(u)^2)``, exact where ``tanh`` saturates."""
    return 2.0 * (LOG_2 - u - F.softplus(-2.0 * u))
