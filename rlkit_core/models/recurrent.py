"""LSTM and GRU round any encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from attrs import define
from torch import nn

from rlkit_core.columns import ENCODER_OUT, Columns
from rlkit_core.errors import ConfigError
from rlkit_core.models.base import (
    Encoder,
    ModelConfig,
    build_network,
    check_framework,
    encoder_output,
    input_columns_of,
)
from rlkit_core.models.default_config import effective_model_config
from rlkit_core.models.initializers import initialize
from rlkit_core.spaces import leaves, nested_map

_LAYERS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


@define(slots=False, kw_only=True)
class RecurrentEncoderConfig(ModelConfig):
    """A recurrent layer, with a tokenizer encoder before it if wanted.

    Args:
        input_dims: ``(D,)`` of the observations; not needed with a tokenizer.
        recurrent_layer_type: ``"lstm"`` or ``"gru"``.
        hidden_dim: size of the state and of the output.
        num_layers: layers on top of each other.
        batch_major: inputs are ``(B, T, ...)``; otherwise ``(T, B, ...)``. States are ``(B, ...)`` in both.
        hidden_weights_initializer: for all weights; in-place function of ``torch.nn.init`` or a callable, its
            arguments in ``..._config``; ``hidden_bias_initializer`` alike.
        use_bias: whether the layers have biases.
        tokenizer_config: a stateless encoder's config; it sees the batch and time axes folded into one.
    """

    recurrent = True

    input_dims: Any = None
    always_check_shapes: bool = False
    recurrent_layer_type: str = "lstm"
    hidden_dim: int = 256
    num_layers: int = 1
    batch_major: bool = True
    hidden_weights_initializer: Any = None
    hidden_weights_initializer_config: dict[str, Any] | None = None
    hidden_bias_initializer: Any = None
    hidden_bias_initializer_config: dict[str, Any] | None = None
    use_bias: bool = True
    tokenizer_config: Any = None

    @classmethod
    def from_tokenizer(cls, tokenizer_config: ModelConfig, model_config: Mapping[str, Any]) -> RecurrentEncoderConfig:
        """Put a recurrent layer round an encoder, from ``use_gru`` (else an LSTM) and the ``lstm_*`` settings."""
        config = effective_model_config(model_config)
        return cls(
            input_dims=getattr(tokenizer_config, "input_dims", None),
            recurrent_layer_type="gru" if config["use_gru"] else "lstm",
            hidden_dim=config["lstm_cell_size"],
            num_layers=config["lstm_num_layers"],
            hidden_weights_initializer=config["lstm_kernel_initializer"],
            hidden_weights_initializer_config=config["lstm_kernel_initializer_kwargs"],
            hidden_bias_initializer=config["lstm_bias_initializer"],
            hidden_bias_initializer_config=config["lstm_bias_initializer_kwargs"],
            tokenizer_config=tokenizer_config,
        )

    @property
    def output_dims(self) -> tuple[int, ...]:
        """``(hidden_dim,)``."""
        return (self.hidden_dim,)

    def _validate(self, framework: str = "torch") -> None:
        check_framework(self, framework)
        name = type(self).__name__
        if self.recurrent_layer_type not in _LAYERS:
            raise ConfigError(
                f"{name}: recurrent_layer_type must be 'lstm' or 'gru', got {self.recurrent_layer_type!r}"
            )
        if self.num_layers < 1 or self.hidden_dim < 1:
            raise ConfigError(
                f"{name}: num_layers and hidden_dim must be positive, got {self.num_layers} and {self.hidden_dim}"
            )
        if getattr(self.tokenizer_config, "recurrent", False):
            raise ConfigError(f"{name}: the tokenizer {type(self.tokenizer_config).__name__} is recurrent itself")
        dims = self.input_dims if self.tokenizer_config is None else self.tokenizer_config.output_dims
        if dims is None or len(dims) != 1:
            raise ConfigError(
                f"{name}: expected inputs of one axis, got dims {dims!r}; give a tokenizer_config that flattens"
            )

    def checked_dims(self) -> Any:
        """``input_dims``; with a tokenizer, that one checks."""
        return self.input_dims if self.tokenizer_config is None else None

    def build(self, framework: str = "torch") -> RecurrentEncoder:
        """Return a new :class:`RecurrentEncoder`."""
        self._validate(framework)
        return RecurrentEncoder(self, framework)


class RecurrentEncoder(Encoder):
    """``{"obs": (B, T, ...), "state_in": ...}`` to ``{"encoder_out": (B, T, H), "state_out": ...}``.

    States are ``{"h": (B, layers, H)}`` and, of an LSTM, ``"c"`` of the same shape; without ``"state_in"`` they
    start at zero. Within one call a sequence is never reset: cut sequences where episodes end.
    """

    def __init__(self, config: RecurrentEncoderConfig, framework: str = "torch") -> None:
        super().__init__(config)
        tokenizer = config.tokenizer_config
        self.tokenizer: nn.Module | None = None
        size = int((config.input_dims if tokenizer is None else tokenizer.output_dims)[0])
        if tokenizer is not None:
            self.tokenizer = build_network(tokenizer, framework)
            self.input_columns = input_columns_of(self.tokenizer)
        layer = _LAYERS[config.recurrent_layer_type]
        self.rnn = layer(
            size, config.hidden_dim, config.num_layers, bias=config.use_bias, batch_first=config.batch_major
        )
        for name, parameter in self.rnn.named_parameters():
            kind = "weights" if name.startswith("weight") else "bias"
            initialize(
                parameter,
                getattr(config, f"hidden_{kind}_initializer"),
                getattr(config, f"hidden_{kind}_initializer_config"),
            )
        self._names = ("h", "c") if config.recurrent_layer_type == "lstm" else ("h",)
        self._state_shape = (config.num_layers, config.hidden_dim)

    def get_initial_state(self) -> dict[str, Any]:
        """Zeros ``(layers, H)`` for each part of the state."""
        like = next(self.rnn.parameters())
        return {name: torch.zeros(self._state_shape, dtype=like.dtype, device=like.device) for name in self._names}

    def forward(self, batch: Mapping[str, Any], **kwargs: object) -> dict[str, Any]:
        """Run over the time axis of ``batch["obs"]`` from ``batch["state_in"]``."""
        x = self._tokens(batch)
        state_in = batch.get(Columns.STATE_IN)
        state: Any = None
        if state_in:
            parts = tuple(state_in[name].to(x.dtype).transpose(0, 1).contiguous() for name in self._names)
            state = parts if len(parts) == 2 else parts[0]
        out, state = self.rnn(x, state)
        parts = state if len(self._names) == 2 else (state,)
        state_out = {name: part.transpose(0, 1) for name, part in zip(self._names, parts, strict=True)}
        return {ENCODER_OUT: out, Columns.STATE_OUT: state_out}

    def _tokens(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """``(B, T, D)``: the observations, or what the tokenizer makes of them."""
        obs = batch[Columns.OBS]
        if self.tokenizer is None:
            tokens: torch.Tensor = obs.to(next(self.rnn.parameters()).dtype)
            return tokens
        folded = {
            column: nested_map(lambda x: x.flatten(0, 1), batch[column])
            for column in self.input_columns
            if column in batch
        }
        lead = next(leaves(obs)).shape[:2]
        tokens = encoder_output(self.tokenizer(folded), self.tokenizer)
        return tokens.reshape(*lead, tokens.shape[-1])
