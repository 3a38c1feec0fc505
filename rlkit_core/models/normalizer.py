"""Observation normalisation as part of the module: running mean and variance in its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from attrs import define, field
from gymnasium import spaces
from torch import nn

from rlkit_core.columns import Columns
from rlkit_core.errors import ConfigError
from rlkit_core.models.base import (
    Encoder,
    ModelConfig,
    WrapperConfig,
    build_network,
    check_framework,
    initial_state_of,
    input_columns_of,
)
from rlkit_core.models.default_config import effective_model_config
from rlkit_core.spaces import at_path, flat_leaves, with_leaf

if TYPE_CHECKING:
    import gymnasium as gym

Array = np.ndarray[Any, Any]


class ObservationNormalizer(nn.Module):
    """Shifts and scales the float Box leaves of observations by running statistics, then clips.

    Acting and training never change the statistics; only :meth:`update_statistics` and :meth:`merge` do.
    All are buffers (float64, with the float32 shift and scale that ``forward`` uses; observations in float64
    are shifted by the mean itself), so a restored module computes exactly what the saved one did. Other leaves
    (integers, images of uint8) pass unchanged.

    Args:
        observation_space: space of one observation.
        clip: bound of the normalised values; None or 0: unbounded.
        epsilon: added to the variance.

    Raises:
        ConfigError: the space has no float Box leaf.
    """

    mean: torch.Tensor
    var: torch.Tensor
    count: torch.Tensor
    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, observation_space: Any, clip: float | None = 10.0, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.clip = clip
        self.epsilon = epsilon
        leaves = []
        total = 0
        for path, leaf in flat_leaves(observation_space):
            if isinstance(leaf, spaces.Box) and np.issubdtype(leaf.dtype, np.floating):
                size = int(np.prod(leaf.shape, dtype=np.int64))
                leaves.append((path, slice(total, total + size), tuple(leaf.shape)))
                total += size
        if not leaves:
            raise ConfigError(
                f"normalize_observations: {observation_space} has no Box of floats to normalise; leave it off"
            )
        self._leaves = tuple(leaves)
        self.register_buffer("mean", torch.zeros(total, dtype=torch.float64))
        self.register_buffer("var", torch.ones(total, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(total))
        self.register_buffer("scale", torch.ones(total))

    def forward(self, obs: object) -> Any:
        """Normalise observations with any leading axes; the structure stays."""
        for path, part, shape in self._leaves:
            x, scale = at_path(obs, path), self.scale[part].view(shape)
            # In the observation's own precision: large numbers that differ little are equal in another.
            shift = (self.mean if x.dtype is torch.float64 else self.shift)[part].view(shape)
            x = (x.to(shift.dtype) - shift).to(scale.dtype) * scale
            if self.clip:
                x = x.clamp(-self.clip, self.clip)
            obs = with_leaf(obs, path, x)
        return obs

    @property
    def is_plain(self) -> bool:
        """Whether observations are one vector, and so are ``shift`` and ``scale``."""
        (path, _, shape), *others = self._leaves
        return not others and not path and len(shape) == 1 and self.shift.device.type == "cpu"

    def on_rows(self) -> Callable[[Array], Array]:
        """What ``forward`` does to numpy rows ``(N, D)`` where it :attr:`is_plain`, with the statistics of now."""
        shift, mean, scale = (one.numpy().copy() for one in (self.shift, self.mean, self.scale))
        bound = np.float32(self.clip or np.inf)

        def normalise(x: Array) -> Array:
            x = (x - (mean if x.dtype == np.float64 else shift)).astype(np.float32, copy=False)
            x *= scale
            np.minimum(x, bound, out=x)
            np.maximum(x, -bound, out=x)
            return x

        return normalise

    @torch.no_grad()
    def moments(self, obs: object, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Count, mean and sum of squared deviations of a batch, ``(1 + 2 D,)`` in float64, for :meth:`merge`.

        Args:
            obs: observations with any leading axes.
            mask: of the leading axes; only rows where it is true count.
        """
        columns = []
        for path, part, shape in self._leaves:
            x = at_path(obs, path)
            lead = x.shape[: x.dim() - len(shape)]
            rows = x.reshape(lead.numel(), part.stop - part.start).to(torch.float64)
            columns.append(rows if mask is None else rows[mask.expand(lead).reshape(-1).to(torch.bool)])
        rows = torch.cat(columns, -1)
        count = rows.new_full((1,), rows.shape[0])
        mean = rows.sum(0) / count.clamp(min=1.0)
        return torch.cat((count, mean, (rows - mean).square_().sum(0)))

    @torch.no_grad()
    def merge(self, moments: torch.Tensor) -> None:
        """Take in batches' :meth:`moments`, ``(1 + 2 D,)`` or several as ``(L, 1 + 2 D)`` (one of each learner).

        Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979).
        """
        size = self.mean.numel()
        for row in moments.to(self.mean).reshape(-1, 1 + 2 * size):
            count, mean, squares = row[0], row[1 : 1 + size], row[1 + size :]
            total = self.count + count
            if total <= 0:
                continue
            delta = mean - self.mean
            merged = self.var * self.count + squares + delta.square() * (self.count * count / total)
            self.mean += delta * (count / total)
            self.var.copy_(merged / total)
            self.count.copy_(total)
        self.shift.copy_(self.mean)
        self.scale.copy_((self.var + self.epsilon).rsqrt())

    def covers_the_same_as(self, other: ObservationNormalizer) -> bool:
        """Whether ``other`` normalises the same leaves, so that :meth:`moments` of one serve both."""
        return self._leaves == other._leaves and self.mean.device == other.mean.device

    def update_statistics(self, obs: object, mask: torch.Tensor | None = None) -> None:
        """Take in a batch of observations: ``merge(moments(obs, mask))``."""
        self.merge(self.moments(obs, mask))


@define(slots=False, kw_only=True)
class NormalizedEncoderConfig(WrapperConfig):
    """Normalises observations before an encoder.

    Args:
        observation_space: space of one observation, as the encoder sees it.
        clip: bound of the normalised values.
        epsilon: added to the variance.
    """

    observation_space: Any = field()
    clip: float | None = 10.0
    epsilon: float = 1e-8

    @classmethod
    def from_encoder(
        cls, base_encoder_config: ModelConfig, observation_space: gym.Space[Any], model_config: Mapping[str, Any]
    ) -> NormalizedEncoderConfig:
        """Wrap an encoder's config, from ``observation_clip``."""
        clip = effective_model_config(model_config)["observation_clip"]
        return cls(base_encoder_config=base_encoder_config, observation_space=observation_space, clip=clip)

    def build(self, framework: str = "torch") -> NormalizedEncoder:
        """Return a new :class:`NormalizedEncoder`."""
        check_framework(self, framework)
        return NormalizedEncoder(self, framework)


class NormalizedEncoder(Encoder):
    """Runs ``self.encoder`` on observations that ``self.normalizer`` has normalised."""

    def __init__(self, config: NormalizedEncoderConfig, framework: str = "torch") -> None:
        super().__init__(config)
        self.normalizer = ObservationNormalizer(config.observation_space, config.clip, config.epsilon)
        self.encoder: nn.Module = build_network(config.base_encoder_config, framework)
        self.input_columns = input_columns_of(self.encoder)

    def get_initial_state(self) -> dict[str, Any]:
        """The wrapped encoder's."""
        return initial_state_of(self.encoder)

    def forward(self, batch: Mapping[str, Any], **kwargs: object) -> Any:
        """Encode ``batch`` with normalised observations."""
        return self.encoder({**batch, Columns.OBS: self.normalizer(batch[Columns.OBS])}, **kwargs)


def observation_normalizers(module: nn.Module) -> list[ObservationNormalizer]:
    """Every normaliser inside a module, in a fixed order."""
    return [part for part in module.modules() if isinstance(part, ObservationNormalizer)]
