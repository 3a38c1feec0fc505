"""Several independent categorical choices."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from gymnasium import spaces

from rlkit_core.distributions.base import Distribution, Shape
from rlkit_core.distributions.categorical import Categorical
from rlkit_core.distributions.deterministic import Deterministic
from rlkit_core.errors import ConfigError

if TYPE_CHECKING:
    import gymnasium as gym


class MultiCategorical(Distribution):
    """``K`` independent choices; a raw action is int64 ``(..., K)``.

    All are one batched :class:`Categorical` of shape ``(..., K, n)``, the shorter ones padded with logits of
    minus infinity, so the cost does not grow with ``K`` operations.

    Args:
        categoricals: the components, of equal batch shape.

    Attributes:
        table: all of them as one, ``(..., K, n)``.
        input_lens: the numbers of choices.
    """

    __slots__ = ("input_lens", "table")
    supports_mask = True

    def __init__(self, categoricals: Sequence[Categorical]) -> None:
        lens = tuple(int(c.logits.shape[-1]) for c in categoricals)
        flat = torch.cat([c.logits for c in categoricals], -1)
        self.table, self.input_lens = Categorical(_by_component(flat, lens, -float("inf"))), lens

    @classmethod
    def from_logits(
        cls, logits: torch.Tensor, input_lens: Sequence[int] | None = None, temperature: float = 1.0, **kwargs: Any
    ) -> MultiCategorical:
        """Build from ``(..., sum(input_lens))``: the components' logits one after the other.

        Raises:
            ConfigError: no ``input_lens`` (bind them with ``for_space`` or ``get_partial_dist_cls``).
        """
        if input_lens is None:
            raise ConfigError(
                f"{cls.__name__}.from_logits needs input_lens, the number of choices of each component; "
                "bind them with for_space(space) or get_partial_dist_cls(input_lens=...)"
            )
        lens = tuple(input_lens)
        self = cls.__new__(cls)
        self.table = Categorical(_by_component(logits, lens, -float("inf")), None, temperature)
        self.input_lens = lens
        return self

    @classmethod
    def required_input_dim(
        cls, space: gym.Space[Any], model_config: Mapping[str, Any] | None = None, **kwargs: object
    ) -> int:
        """Return ``sum(nvec)`` of a MultiDiscrete space."""
        return sum(_lens_of(cls.__name__, space))

    @classmethod
    def for_space(
        cls,
        space: gym.Space[Any],
        model_config: Mapping[str, Any] | None = None,
        child: Callable[[Any, tuple[str, ...]], type[Distribution]] | None = None,
    ) -> type[Distribution]:
        """Bind the numbers of choices of a MultiDiscrete space."""
        if "input_lens" in cls.bound_kwargs:
            return cls
        return cls.get_partial_dist_cls(input_lens=_lens_of(cls.__name__, space))

    @property
    def event_shape(self) -> Shape:
        """``(K,)``."""
        return (len(self.input_lens),)

    @classmethod
    def noise_dim(cls, logits_dim: int) -> int:
        """One number for each logit."""
        return logits_dim

    @classmethod
    def fill_noise(cls, out: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Gumbel noise."""
        return Categorical.fill_noise(out, generator)

    def draw(self, sample_shape: Shape | None, noise: torch.Tensor | None) -> torch.Tensor:
        """Draw int64 ``(..., K)``."""
        if noise is not None:
            noise = _by_component(noise, self.input_lens, 0.0)
        return self.table.draw(sample_shape, noise)

    def draw_with_gradients(self, sample_shape: Shape | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw one-hot vectors, one after the other ``(..., sum(input_lens))``, straight-through."""
        one_hot, actions = self.table.draw_with_gradients(sample_shape)
        return torch.cat([one_hot[..., k, :n] for k, n in enumerate(self.input_lens)], -1), actions

    def logp(self, value: torch.Tensor) -> torch.Tensor:
        """Log-probability of ``(..., K)`` indices, summed over components."""
        return self.table.logp(value).sum(-1)

    def entropy(self) -> torch.Tensor:
        """Sum of the components' entropies."""
        return self.table.entropy().sum(-1)

    def kl(self, other: MultiCategorical) -> torch.Tensor:
        """Sum of the components' ``KL(self || other)``."""
        return self.table.kl(other.table).sum(-1)

    def to_deterministic(self) -> Deterministic:
        """Each component's most probable choice."""
        return Deterministic(torch.argmax(self.table.logits, -1))


def _lens_of(name: str, space: gym.Space[Any]) -> tuple[int, ...]:
    if not isinstance(space, spaces.MultiDiscrete):
        raise ConfigError(f"{name}: expected a MultiDiscrete action space, got {space}")
    return tuple(int(n) for n in space.nvec.reshape(-1))


def _by_component(flat: torch.Tensor, lens: tuple[int, ...], fill: float) -> torch.Tensor:
    """``(..., sum(lens))`` to ``(..., K, max(lens))``, short rows filled up."""
    if len(set(lens)) != 1:
        flat = F.pad(flat, (0, 1), value=fill).index_select(-1, _padding_index(lens, flat.device))
    return flat.reshape(*flat.shape[:-1], len(lens), max(lens))


@functools.lru_cache(maxsize=256)
def _padding_index(lens: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Where each entry of the padded table comes from; the padding comes from one extra last column."""
    total, longest = sum(lens), max(lens)
    index, start = [], 0
    for n in lens:
        index += [*range(start, start + n), *[total] * (longest - n)]
        start += n
    with torch.inference_mode(False):  # kept, so a training step may need it after acting made it
        return torch.tensor(index, device=device)
