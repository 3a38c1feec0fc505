"""An encoder for an actor and a critic: one network for both, or one each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define
from torch import nn

from rlkit_core.columns import ACTOR, CRITIC, ENCODER_OUT, Columns
from rlkit_core.models.base import (
    Encoder,
    WrapperConfig,
    build_network,
    check_framework,
    encoder_output,
    initial_state_of,
    input_columns_of,
)


@define(slots=False, kw_only=True)
class ActorCriticEncoderConfig(WrapperConfig):
    """Wraps an encoder config for actor-critic algorithms.

    Args:
        shared: one encoder for actor and critic; otherwise one each.
        inference_only: leave a separate critic out.
    """

    shared: bool = True
    inference_only: bool = False

    def build(self, framework: str = "torch") -> ActorCriticEncoder:
        """Return a new :class:`ActorCriticEncoder`, or the stateful kind round a recurrent encoder."""
        check_framework(self, framework)
        return (StatefulActorCriticEncoder if self.recurrent else ActorCriticEncoder)(self, framework)


class ActorCriticEncoder(Encoder):
    """Gives ``{"encoder_out": {"actor": ..., "critic": ...}}``.

    Shared: both are the same tensor of ``self.encoder``. Separate: of ``self.actor_encoder`` and
    ``self.critic_encoder``; there is no ``"critic"`` when that was left out or stripped (inference only).
    """

    def __init__(self, config: ActorCriticEncoderConfig, framework: str = "torch") -> None:
        super().__init__(config)
        base = config.base_encoder_config
        self.shares_layers = config.shared
        if config.shared:
            self.encoder: nn.Module = build_network(base, framework)
            self.input_columns = input_columns_of(self.encoder)
            return
        self.actor_encoder: nn.Module = build_network(base, framework)
        self.input_columns = input_columns_of(self.actor_encoder)
        if not config.inference_only:
            self.critic_encoder: nn.Module = build_network(base, framework)

    def forward(self, batch: Mapping[str, Any], *, only: str | None = None, **kwargs: object) -> dict[str, Any]:
        """Encode ``batch["obs"]``; ``only="actor"`` or ``"critic"`` computes that part alone."""
        modules = self._modules
        if self.shares_layers:
            encoder: Any = modules["encoder"]
            out = encoder_output(encoder(batch), encoder)
            if only is not None:
                return {ENCODER_OUT: {only: out}}
            return {ENCODER_OUT: {ACTOR: out, CRITIC: out}}
        parts: dict[str, Any] = {}
        if only != CRITIC:
            encoder = modules["actor_encoder"]
            parts[ACTOR] = encoder_output(encoder(batch), encoder)
        if only != ACTOR:
            encoder = modules.get("critic_encoder")
            if encoder is not None:
                parts[CRITIC] = encoder_output(encoder(batch), encoder)
        return {ENCODER_OUT: parts}


class StatefulActorCriticEncoder(ActorCriticEncoder):
    """The same round a recurrent encoder.

    A shared encoder's state is passed as it is. Separate ones have ``{"actor": ..., "critic": ...}``; with
    ``only="actor"`` the critic's state is handed through unchanged.
    """

    def get_initial_state(self) -> dict[str, Any]:
        """State before the first step, without batch axis."""
        if self.shares_layers:
            return initial_state_of(self.encoder)
        state = {ACTOR: initial_state_of(self.actor_encoder)}
        critic = self._modules.get("critic_encoder")
        if critic is not None:
            state[CRITIC] = initial_state_of(critic)
        return state

    def forward(self, batch: Mapping[str, Any], *, only: str | None = None, **kwargs: object) -> dict[str, Any]:
        """Encode observations ``(B, T, ...)`` from ``batch["state_in"]``; adds ``"state_out"``."""
        modules = self._modules
        if self.shares_layers:
            encoder: Any = modules["encoder"]
            result = encoder(batch)
            out = encoder_output(result, encoder)
            parts = {only: out} if only is not None else {ACTOR: out, CRITIC: out}
            return {ENCODER_OUT: parts, Columns.STATE_OUT: result[Columns.STATE_OUT]}
        parts = {}
        state_in = batch.get(Columns.STATE_IN) or {}
        state_out = dict(state_in)
        for part, encoder in ((ACTOR, modules["actor_encoder"]), (CRITIC, modules.get("critic_encoder"))):
            if encoder is None or (only is not None and only != part):
                continue
            own = {**batch, Columns.STATE_IN: state_in.get(part)}
            result = encoder(own)
            parts[part] = encoder_output(result, encoder)
            state_out[part] = result[Columns.STATE_OUT]
        return {ENCODER_OUT: parts, Columns.STATE_OUT: state_out}
