"""``DefaultModelConfig``: the settings of the built-in networks, and how layers of settings merge."""

# ruff: noqa: RUF009 - _setting() returns an attrs field
from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import attrs
from attrs import define, field

from rlkit_core.errors import ConfigError, UnknownSettingError, did_you_mean
from rlkit_core.models.initializers import get_activation, get_initializer

_SLOT_KEY = re.compile(r"(pi|vf|af)_(head_\w+)\Z")


def _dims(instance: Any, attribute: Any, value: Any) -> None:
    ok = isinstance(value, list | tuple) and all(isinstance(n, int) and n > 0 for n in value)
    if not ok:
        raise ConfigError(f"{attribute.name}={value!r}: expected a list of positive integers, such as [64, 64]")


def _activation(instance: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, type):
        _naming(attribute.name, get_activation, value)


def _initializer(instance: Any, attribute: Any, value: Any) -> None:
    _naming(attribute.name, get_initializer, value)


def _naming(name: str, check: Any, value: Any) -> None:
    try:
        check(value)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def _kwargs(instance: Any, attribute: Any, value: Any) -> None:
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"{attribute.name}={value!r}: expected a dict of keyword arguments or None")


def _bool(instance: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{attribute.name}={value!r}: expected True or False")


def _positive_int(instance: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{attribute.name}={value!r}: expected a positive integer")


def _number(instance: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ConfigError(f"{attribute.name}={value!r}: expected a number")


def _filters(instance: Any, attribute: Any, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, list | tuple) or not all(
        isinstance(row, list | tuple) and len(row) in (3, 4) for row in value
    ):
        raise ConfigError(
            f"{attribute.name}={value!r}: expected rows of [channels, kernel, stride] with an optional "
            "fourth entry 'same' or 'valid', or None for filters chosen by image size"
        )


def _setting(default: Any, check: Any) -> Any:
    if isinstance(default, list):
        return field(factory=lambda: list(default), validator=check)
    return field(default=default, validator=check)


@define(slots=False, init=False, kw_only=True, on_setattr=attrs.setters.NO_OP)
class DefaultModelConfig:
    """Settings of the built-in encoders and heads, with RLlib's names and figures.

    Only the fields that are passed (or assigned later) count as set: merged over an algorithm's own
    defaults, the others leave those alone. Activations are ``torch.nn`` names in any case, ``"linear"`` or
    callables; initializers are in-place functions of ``torch.nn.init`` by name or callables, their arguments
    beside them.

    A ``head_*`` field may be given for one head alone by the slot's name before it, as in
    ``pi_head_output_kernel_initializer_kwargs={"gain": 0.01}``.

    Raises:
        UnknownSettingError: no such field; the message suggests the nearest.
        ConfigError: a value of the wrong kind.
    """

    # MLP encoder
    fcnet_hiddens: list[int] = _setting([256, 256], _dims)
    fcnet_activation: Any = _setting("tanh", _activation)
    fcnet_kernel_initializer: Any = _setting(None, _initializer)
    fcnet_kernel_initializer_kwargs: dict[str, Any] | None = _setting(None, _kwargs)
    fcnet_bias_initializer: Any = _setting(None, _initializer)
    fcnet_bias_initializer_kwargs: dict[str, Any] | None = _setting(None, _kwargs)
    fcnet_use_layernorm: bool = _setting(False, _bool)
    # CNN encoder: rows of [channels, kernel, stride(, "same"|"valid")], None: chosen by image size
    conv_filters: list[Any] | None = _setting(None, _filters)
    conv_activation: Any = _setting("relu", _activation)
    conv_kernel_initializer: Any = _setting(None, _initializer)
    conv_kernel_initializer_kwargs: dict[str, Any] | None = _setting(None, _kwargs)
    conv_bias_initializer: Any = _setting(None, _initializer)
    conv_bias_initializer_kwargs: dict[str, Any] | None = _setting(None, _kwargs)
    conv_use_layernorm: bool = _setting(False, _bool)
    conv_fcnet_hiddens: list[int] = _setting([], _dims)  # dense layers after the convolutions
    conv_channels_first: Any = field(default=None)  # True, False, or None: judged from the image's shape
    # heads
    head_fcnet_hiddens: list[int] = _setting([], _dims)
    head_fcnet_activation: Any = _setting("relu", _activation)
    head_fcnet_kernel_initializer: Any = _setting(None, _initializer)
    head_fcnet_kernel_initializer_kwargs: dict[str, Any] | None = _setting(None, _kwargs)
    head_fcnet_bias_initializer: Any = _setting(None, _initializer)
    head_fcnet_bias_initializer_kwargs: dict[str, Any] | None = _setting(None, _kwargs)
    head_fcnet_use_layernorm: bool = _setting(False, _bool)
    # a head's last layer; None: as its hidden layers
    head_output_kernel_initializer: Any = _setting(None, _initializer)
    head_output_kernel_initializer_kwargs: dict[str, Any] | None = _setting(None, _kwargs)
    head_output_bias_initializer: Any = _setting(None, _initializer)
    head_output_bias_initializer_kwargs: dict[str, Any] | None = _setting(None, _kwargs)
    # continuous actions
    free_log_std: bool = _setting(False, _bool)
    log_std_clip_param: float = _setting(20.0, _number)
    log_std_init: float = _setting(0.0, _number)  # with free_log_std
    vf_share_layers: bool = _setting(True, _bool)
    normalize_actions: bool = _setting(True, _bool)
    clip_actions: bool = _setting(True, _bool)
    # recurrence: an LSTM or a GRU of lstm_cell_size round the encoder
    use_lstm: bool = _setting(False, _bool)
    use_gru: bool = _setting(False, _bool)
    max_seq_len: int = _setting(20, _positive_int)
    lstm_cell_size: int = _setting(256, _positive_int)
    lstm_num_layers: int = _setting(1, _positive_int)
    lstm_use_prev_action: bool = _setting(False, _bool)
    lstm_use_prev_reward: bool = _setting(False, _bool)
    lstm_kernel_initializer: Any = _setting(None, _initializer)
    lstm_kernel_initializer_kwargs: dict[str, Any] | None = _setting(None, _kwargs)
    lstm_bias_initializer: Any = _setting(None, _initializer)
    lstm_bias_initializer_kwargs: dict[str, Any] | None = _setting(None, _kwargs)
    # the MLP that joins the parts of a Dict or Tuple observation
    fusionnet_hiddens: list[int] = _setting([256, 256], _dims)
    fusionnet_activation: Any = _setting("tanh", _activation)
    fusionnet_kernel_initializer: Any = _setting(None, _initializer)
    fusionnet_kernel_initializer_kwargs: dict[str, Any] | None = _setting(None, _kwargs)
    fusionnet_bias_initializer: Any = _setting(None, _initializer)
    fusionnet_bias_initializer_kwargs: dict[str, Any] | None = _setting(None, _kwargs)
    # running mean and variance of float observations, part of the module
    normalize_observations: bool = _setting(False, _bool)
    observation_clip: float = _setting(10.0, _number)

    def __init__(self, **settings: Any) -> None:
        own, slotted = _split(settings)
        object.__setattr__(self, "_set_names", set())
        object.__setattr__(self, "_slotted", slotted)
        self.__attrs_init__(**own)
        object.__setattr__(self, "_set_names", set(own))

    def __setattr__(self, name: str, value: Any) -> None:
        fields = attrs.fields_dict(type(self))
        if name not in fields:
            slotted = _split({name: value})[1]
            self.__dict__["_slotted"].update(slotted)
            return
        validator = fields[name].validator
        if validator is not None:
            validator(self, fields[name], value)
        object.__setattr__(self, name, value)
        self.__dict__["_set_names"].add(name)

    def set_fields(self) -> dict[str, Any]:
        """Return the fields that were passed or assigned, and no others."""
        chosen = {name: getattr(self, name) for name in FIELD_NAMES if name in self.__dict__["_set_names"]}
        return {**chosen, **self.__dict__["_slotted"]}

    def to_dict(self) -> dict[str, Any]:
        """Return every field."""
        return {**{name: getattr(self, name) for name in FIELD_NAMES}, **self.__dict__["_slotted"]}

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]


FIELD_NAMES: tuple[str, ...] = tuple(attrs.fields_dict(DefaultModelConfig))


def _split(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate fields from settings of one head (``pi_head_...``), refusing what is neither."""
    own: dict[str, Any] = {}
    slotted: dict[str, Any] = {}
    fields = attrs.fields_dict(DefaultModelConfig)
    for name, value in settings.items():
        match = _SLOT_KEY.match(name)
        if name in fields:
            own[name] = value
        elif match and match[2] in fields:
            validator = fields[match[2]].validator
            if validator is not None:
                validator(None, fields[match[2]], value)
            slotted[name] = value
        else:
            raise UnknownSettingError(f"DefaultModelConfig has no field {name!r}." + did_you_mean(name, fields))
    return own, slotted


def model_config_dict(layer: Any) -> dict[str, Any]:
    """What one layer sets: a ``DefaultModelConfig`` (its set fields), mapping, dataclass or None.

    Raises:
        ConfigError: the layer is none of these.
    """
    if layer is None:
        return {}
    if isinstance(layer, DefaultModelConfig):
        return layer.set_fields()
    if isinstance(layer, Mapping):
        return dict(layer)
    if dataclasses.is_dataclass(layer) and not isinstance(layer, type):
        return {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}
    if attrs.has(type(layer)):
        return {f.name: getattr(layer, f.name) for f in attrs.fields(type(layer))}
    raise ConfigError(f"model_config: expected a dict or a DefaultModelConfig, got {type(layer).__name__}: {layer!r}")


def effective_model_config(*layers: Any) -> dict[str, Any]:
    """Merge layers over the defaults: later ones win, by what they set. Values are not copied."""
    merged = _DEFAULTS.to_dict()
    for layer in layers:
        merged.update(model_config_dict(layer))
    return merged


def slot_model_config(model_config: Mapping[str, Any], slot: str) -> dict[str, Any]:
    """The settings for one head: ``{slot}_head_x`` takes the place of ``head_x``."""
    config = dict(model_config)
    prefix = f"{slot}_head_"
    for name, value in model_config.items():
        if name.startswith(prefix):
            config[name[len(slot) + 1 :]] = value
    return config


_DEFAULTS = DefaultModelConfig()
