"""Encoders in one class: made from the observation space, with an output that is seen rather than said."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from attrs import define, field

from rlkit_core.columns import Columns
from rlkit_core.errors import ConfigError
from rlkit_core.models.base import Encoder, ModelConfig, check_framework, encoder_output
from rlkit_core.plugins.quarantine import random_states_kept
from rlkit_core.spaces import describe, map_space


class SpaceEncoder(Encoder):
    """An encoder without a config class of its own: a component's target is the subclass itself::

        class Linear(SpaceEncoder):
            def setup(self, space, model_config):
                self.layer = torch.nn.Linear(space.shape[0], 64)

            def forward(self, batch):
                return {"encoder_out": self.layer(batch["obs"].float())}

    One that is recurrent, or asks for encoders of sub-spaces, has a :class:`ModelConfig` instead.

    Attributes:
        output_dims: shape of ``encoder_out`` without the batch axis. Where it is None, a network is made and tried on
            one observation when a catalog chooses the encoder; random states are put back.
    """

    output_dims: ClassVar[tuple[int, ...] | None] = None

    def __init__(self, config: SpaceEncoderConfig) -> None:
        super().__init__(config)
        self.setup(config.space, config.model_config)

    def setup(self, space: Any, model_config: Mapping[str, Any]) -> None:
        """Make the layers, from the observation space and the settings."""
        raise NotImplementedError(f"{type(self).__name__} has no setup(space, model_config): make its layers there")

    @classmethod
    def from_space(cls, space: gym.Space[Any], model_config: Mapping[str, Any]) -> SpaceEncoderConfig:
        """What the catalog asks for: a config that builds it.

        Raises:
            ConfigError: it gives no ``encoder_out`` of shape ``(B, ...)``.
        """
        return SpaceEncoderConfig(network=cls, space=space, model_config=model_config)


@define(slots=False, kw_only=True)
class SpaceEncoderConfig(ModelConfig):
    """What :meth:`SpaceEncoder.from_space` returns.

    Args:
        network: the encoder's class.
        space: of the observations.
        model_config: the effective model config.
    """

    network: type[SpaceEncoder]
    space: Any
    model_config: Mapping[str, Any]
    _seen: tuple[int, ...] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._seen = _seen_dims(self) if self.network.output_dims is None else None

    @property
    def output_dims(self) -> Any:
        """What the class says, or what was seen."""
        return self.network.output_dims or self._seen

    @property
    def input_dims(self) -> Any:
        """Shape of an observation; None where it has several or none."""
        return self.space.shape

    @property
    def always_check_shapes(self) -> bool:  # type: ignore[override]
        """As the model config says."""
        return bool(self.model_config.get("always_check_shapes", False))

    def build(self, framework: str = "torch") -> SpaceEncoder:
        """Return a new network."""
        check_framework(self, framework)
        return self.network(self)


def _seen_dims(config: SpaceEncoderConfig) -> tuple[int, ...]:
    """Shape of a row of what a network gives for one observation."""
    with random_states_kept(), torch.no_grad():
        network = config.build().eval()
        out = encoder_output(network({Columns.OBS: _example(config.network, config.space)}), network)
    shape = tuple(getattr(out, "shape", ()))
    if len(shape) < 2 or shape[0] != 1:
        raise ConfigError(
            f"{config.network.__name__} for {describe(config.space)}: 'encoder_out' of one observation has shape "
            f"{shape}, expected (1, ...): keep the batch axis, and return features behind it"
        )
    return shape[1:]


def _example(network: type[SpaceEncoder], space: gym.Space[Any]) -> Any:
    """One observation as a batch, packed where the encoder packs."""
    space = copy.deepcopy(space)
    space.seed(0)
    one = space.sample()
    pack = getattr(network, "pack", None)
    if pack is not None:
        return {name: torch.as_tensor(value) for name, value in pack(space, [one]).items()}
    return map_space(lambda leaf, value: torch.as_tensor(np.asarray(value, leaf.dtype)[None]), space, one)
