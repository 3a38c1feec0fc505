"""The distribution that always gives the same action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from rlkit_core.distributions.base import Distribution, Shape
from rlkit_core.distributions.units import size_of

if TYPE_CHECKING:
    import gymnasium as gym


class Deterministic(Distribution):
    """All mass at ``loc``: what ``to_deterministic`` returns, and a distribution for deterministic policies.

    Args:
        loc: the actions.
        event_dims: how many trailing axes make one action (0 for Discrete indices, 1 otherwise).
    """

    __slots__ = ("event_dims", "loc")

    def __init__(self, loc: torch.Tensor, *, event_dims: int = 1) -> None:
        self.loc = loc
        self.event_dims = event_dims

    @classmethod
    def from_logits(cls, logits: torch.Tensor, **kwargs: object) -> Deterministic:
        """Take the head's output as the action."""
        return cls(logits)

    @classmethod
    def required_input_dim(
        cls, space: gym.Space[Any], model_config: Mapping[str, Any] | None = None, **kwargs: object
    ) -> int:
        """Return the number of elements of the space."""
        return size_of(space)

    @property
    def event_shape(self) -> Shape:
        """The last ``event_dims`` axes of ``loc``."""
        return tuple(self.loc.shape[self.loc.dim() - self.event_dims :])

    def draw(self, sample_shape: Shape | None, noise: torch.Tensor | None) -> torch.Tensor:
        """Return ``loc``, repeated over ``sample_shape``."""
        value = self.loc.detach()
        return value if sample_shape is None else value.expand(*sample_shape, *value.shape)

    def draw_with_gradients(self, sample_shape: Shape | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Refuse: there is no randomness."""
        raise NotImplementedError("Deterministic has no randomness to differentiate through; use .loc")

    def logp(self, value: torch.Tensor) -> torch.Tensor:
        """Zeros of the batch shape (the log of a probability of one)."""
        dtype = self.loc.dtype if self.loc.is_floating_point() else torch.float32
        batch = value.shape[: value.dim() - self.event_dims]
        return torch.zeros(batch, dtype=dtype, device=self.loc.device)

    def entropy(self) -> torch.Tensor:
        """Refuse: a point mass has none."""
        raise RuntimeError("Deterministic has no entropy; ask the distribution it was made from")

    def kl(self, other: object) -> torch.Tensor:
        """Refuse: a point mass has none."""
        raise RuntimeError("Deterministic has no KL divergence; ask the distribution it was made from")

    def to_deterministic(self) -> Deterministic:
        """Return itself."""
        return self
