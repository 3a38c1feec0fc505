"""Encoders for Dict and Tuple observations: one encoder for each part, then an MLP over all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from attrs import define, field
from torch import nn

from rlkit_core.columns import ENCODER_OUT, Columns
from rlkit_core.errors import ConfigError
from rlkit_core.models.base import Encoder, ModelConfig, build_network, encoder_output
from rlkit_core.models.default_config import effective_model_config
from rlkit_core.models.mlp import MLPSettings, fcnet_settings, int_tuple, run_plan
from rlkit_core.spaces import at_path, sub_spaces

if TYPE_CHECKING:
    import gymnasium as gym


@define(slots=False, kw_only=True)
class MultiStreamEncoderConfig(MLPSettings):
    """Encoders by name, whose outputs are joined and go through an MLP (fields as in ``MLPEncoderConfig``).

    Args:
        base_encoder_configs: a config for each part; the names are Dict keys, or Tuple indices as decimals.
        hidden_layer_dims: sizes of the MLP; empty: the joined outputs as they are.
    """

    base_encoder_configs: dict[str, Any] = field(factory=dict)
    hidden_layer_dims: tuple[int, ...] = field(default=(256, 256, 256), converter=int_tuple)

    def __attrs_post_init__(self) -> None:
        if self.input_dims is None and self.base_encoder_configs:
            self.input_dims = (sum(math.prod(c.output_dims) for c in self.base_encoder_configs.values()),)

    @classmethod
    def from_space(
        cls,
        space: gym.Space[Any],
        model_config: Mapping[str, Any],
        child: Callable[[Any, tuple[str, ...]], ModelConfig],
    ) -> MultiStreamEncoderConfig:
        """Config for a Dict or Tuple space: ``child(sub_space, (key,))`` for each entry, ``fusionnet_*`` above.

        Raises:
            ConfigError: a space of another kind, or an empty one.
        """
        entries = sub_spaces(space)
        if entries is None:
            raise ConfigError(f"{cls.__name__}: expected a Dict or Tuple space, got {space}")
        settings = fcnet_settings(effective_model_config(model_config), "fusionnet")
        configs = {str(key): child(sub, (str(key),)) for key, sub in entries}
        if len(configs) < len(entries):
            raise ConfigError(f"{cls.__name__}: two keys of {space} read alike as text; give them other names")
        return cls(base_encoder_configs=configs, **settings)

    def _validate(self, framework: str = "torch") -> None:
        name = type(self).__name__
        if not self.base_encoder_configs:
            raise ConfigError(f"{name}: no parts; base_encoder_configs is empty")
        for key, config in self.base_encoder_configs.items():
            if getattr(config, "recurrent", False):
                raise ConfigError(
                    f"{name}: part {key!r} is recurrent ({type(config).__name__}); put the recurrence round the "
                    "whole (use_lstm, use_gru)"
                )
        super()._validate(framework)

    def build(self, framework: str = "torch") -> MultiStreamEncoder:
        """Return a new :class:`MultiStreamEncoder`."""
        self._validate(framework)
        return MultiStreamEncoder(self, framework)


class MultiStreamEncoder(Encoder):
    """``{"obs": dict or tuple}`` to ``{"encoder_out": (B, H)}``; entries without an encoder are ignored."""

    def __init__(self, config: MultiStreamEncoderConfig, framework: str = "torch") -> None:
        super().__init__(config)
        self.streams = nn.Module()
        parts = []
        for key, part in config.base_encoder_configs.items():
            # add_module takes no dots; the prefix keeps clear of attributes of a module
            name = "in_" + key.replace("%", "%25").replace(".", "%2E")
            self.streams.add_module(name, build_network(part, framework))
            parts.append((key, name, len(part.output_dims)))
        self._parts = tuple(parts)
        self.fusion = config.build_mlp()
        self._plan = self.fusion.plan

    def forward(self, batch: Mapping[str, Any], **kwargs: object) -> dict[str, Any]:
        """Encode each part of ``batch["obs"]`` and join them."""
        obs = batch[Columns.OBS]
        named = isinstance(obs, Mapping)
        modules = self.streams._modules
        outputs = []
        for key, name, rank in self._parts:
            encoder: Any = modules[name]
            try:
                own = obs[key] if named else obs[int(key)]
            except KeyError:  # the space has numbers for keys
                own = at_path(obs, (key,))
            part = {**batch, Columns.OBS: own}
            out = encoder_output(encoder(part), encoder)
            outputs.append(out if rank == 1 else out.flatten(-rank))
        return {ENCODER_OUT: run_plan(self._plan, torch.cat(outputs, -1))}
