"""Encoders for discrete observations: one-hot vectors, then an MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from attrs import define, field
from gymnasium import spaces

from rlkit_core.columns import ENCODER_OUT, Columns
from rlkit_core.distributions.units import size_of
from rlkit_core.errors import ConfigError
from rlkit_core.models.base import Encoder
from rlkit_core.models.default_config import effective_model_config
from rlkit_core.models.mlp import MLPSettings, fcnet_settings, int_tuple, run_plan, to_float


@define(slots=False, kw_only=True)
class OneHotEncoderConfig(MLPSettings):
    """One-hot vectors of integers, joined, then an MLP (fields as in ``MLPEncoderConfig``).

    Args:
        nvec: number of values of each integer; empty: the observation is a vector of bits, taken as it is.
        start: smallest value of each integer; empty: zeros.
        observation_rank: trailing axes of an observation (0 for Discrete).
        input_dims: width of the joined vector; ``sum(nvec)`` unless given.
    """

    nvec: tuple[int, ...] = field(default=(), converter=int_tuple)
    start: tuple[int, ...] = field(default=(), converter=int_tuple)
    observation_rank: int = 1

    def __attrs_post_init__(self) -> None:
        if self.input_dims is None and self.nvec:
            self.input_dims = (sum(self.nvec),)

    @classmethod
    def from_space(cls, space: Any, model_config: Mapping[str, Any]) -> OneHotEncoderConfig:
        """Config for a Discrete, MultiDiscrete or MultiBinary space, from the ``fcnet_*`` settings.

        Raises:
            ConfigError: a space of another kind.
        """
        settings = fcnet_settings(effective_model_config(model_config))
        rank = len(space.shape)
        if isinstance(space, spaces.Discrete):
            return cls(nvec=(space.n,), start=(space.start,), observation_rank=0, **settings)
        if isinstance(space, spaces.MultiDiscrete):
            start = getattr(space, "start", None)
            starts = () if start is None else start.reshape(-1).tolist()
            return cls(nvec=space.nvec.reshape(-1).tolist(), start=starts, observation_rank=rank, **settings)
        if isinstance(space, spaces.MultiBinary):
            return cls(input_dims=(size_of(space),), observation_rank=rank, **settings)
        raise ConfigError(f"{cls.__name__}: expected Discrete, MultiDiscrete or MultiBinary, got {space}")

    def checked_dims(self) -> Any:
        """None: observations are integers, ``input_dims`` is the width of their one-hot form."""
        return None

    def build(self, framework: str = "torch") -> OneHotEncoder:
        """Return a new :class:`OneHotEncoder`."""
        self._validate(framework)
        return OneHotEncoder(self)


class OneHotEncoder(Encoder):
    """``{"obs": (..., *shape)}`` of integers to ``{"encoder_out": (..., H)}``."""

    offsets: torch.Tensor

    def __init__(self, config: OneHotEncoderConfig) -> None:
        super().__init__(config)
        self.net = config.build_mlp()
        self._plan = self.net.plan
        self._rank = config.observation_rank
        self._width = int(config.input_dims[0])
        self._binary = not config.nvec
        offsets, total = [], 0
        for i, n in enumerate(config.nvec):
            offsets.append(total - (config.start[i] if config.start else 0))
            total += n
        self.register_buffer("offsets", torch.tensor(offsets, dtype=torch.int64), persistent=False)

    def forward(self, batch: Mapping[str, Any], **kwargs: object) -> dict[str, Any]:
        """Encode ``batch["obs"]``."""
        x = batch[Columns.OBS]
        if self._rank != 1:
            x = x.flatten(-self._rank) if self._rank else x.unsqueeze(-1)
        if not self._binary:
            index = x.long() + self.offsets
            x = torch.zeros(*x.shape[:-1], self._width, device=x.device).scatter_(-1, index, 1.0)
        return {ENCODER_OUT: run_plan(self._plan, to_float(x, self._plan))}
