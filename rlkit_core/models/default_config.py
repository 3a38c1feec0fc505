"""``DefaultModelConfig``: the settings of the built-in networks, and how layers of settings merge."""

# ruff: noqa: RUF009 - what declares a setting returns an attrs field
from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from rlkit_core.errors import ConfigError
from rlkit_core.models.initializers import ActivationSpec, InitializerSpec, get_activation, get_initializer
from rlkit_core.settings import Settings, boolean, integer, number, optional, setting

T = TypeVar("T")
_SLOT_KEY = re.compile(r"(?:pi|vf|af|qf)_(head_\w+)\Z|qf_((?:fcnet|conv|fusionnet)_\w+)\Z")
_OF_ENCODERS = ("fcnet_", "conv_", "fusionnet_")


def _dims(value: T) -> T:
    if not isinstance(value, list | tuple) or not all(isinstance(n, int) and n > 0 for n in value):
        raise ValueError("expected a list of positive integers, such as [64, 64]")
    return value


def _named_activation(value: ActivationSpec) -> ActivationSpec:
    if not isinstance(value, type):
        get_activation(value)
    return value


def _named_initializer(value: InitializerSpec) -> InitializerSpec:
    get_initializer(value)
    return value


def _keywords(value: T) -> T:
    if value is not None and not isinstance(value, Mapping):
        raise ValueError("expected a dict of keyword arguments or None")
    return value


def _filters(value: T) -> T:
    rows: object = [] if value is None else value
    if not isinstance(rows, list | tuple) or not all(
        isinstance(row, list | tuple) and len(row) in (3, 4) for row in rows
    ):
        raise ValueError(
            "expected rows of [channels, kernel, stride] with an optional fourth entry 'same' or 'valid', or None for "
            "filters chosen by image size"
        )
    return value


def _hiddens(default: list[int], where: str) -> Any:
    return setting(default, help=f"Widths of the hidden layers of {where}.", converter=_dims)


def _activation(default: str, where: str) -> Any:
    return setting(default, help=f"Activation of {where}.", converter=_named_activation)


def _initializer(what: str) -> Any:
    return setting(help=f"Initializer of {what}; None is torch's own.", converter=_named_initializer)


def _arguments(what: str) -> Any:
    return setting(help=f"Keyword arguments of the initializer of {what}.", converter=_keywords)


def _flag(default: bool, help: str) -> Any:
    return setting(default, help=help, converter=boolean)


def _count(default: int, help: str) -> Any:
    return setting(default, help=help, converter=integer(ge=1))


@attrs.define(slots=False)
class DefaultModelConfig(Settings):
    """Settings of the built-in encoders and heads, with RLlib's names and figures.

    Only the fields that are passed (or assigned later) count as set: merged over an algorithm's own
    defaults, the others leave those alone. Activations are ``torch.nn`` names in any case, ``"linear"`` or
    callables; initializers are in-place functions of ``torch.nn.init`` by name or callables, their arguments
    beside them.

    A ``head_*`` field may be given for one head alone by the slot's name before it, as in
    ``pi_head_output_kernel_initializer_kwargs={"gain": 0.01}``; for Q networks with an encoder of their own, so may its
    fields, as in ``qf_fcnet_hiddens=[256]``.

    Raises:
        UnknownSettingError: no such field; the message suggests the nearest.
        ConfigError: a value of the wrong kind.
    """

    fcnet_hiddens: list[int] = _hiddens([256, 256], "the MLP encoder")
    fcnet_activation: ActivationSpec = _activation("tanh", "the MLP encoder")
    fcnet_kernel_initializer: InitializerSpec = _initializer("the weights of the MLP encoder")
    fcnet_kernel_initializer_kwargs: dict[str, Any] | None = _arguments("the weights of the MLP encoder")
    fcnet_bias_initializer: InitializerSpec = _initializer("the biases of the MLP encoder")
    fcnet_bias_initializer_kwargs: dict[str, Any] | None = _arguments("the biases of the MLP encoder")
    fcnet_use_layernorm: bool = _flag(False, "Layer normalisation in the MLP encoder.")

    conv_filters: list[Any] | None = setting(
        help="Rows of [channels, kernel, stride(, 'same' or 'valid')]; None: chosen by image size.", converter=_filters
    )
    conv_activation: ActivationSpec = _activation("relu", "the CNN encoder")
    conv_kernel_initializer: InitializerSpec = _initializer("the weights of the CNN encoder")
    conv_kernel_initializer_kwargs: dict[str, Any] | None = _arguments("the weights of the CNN encoder")
    conv_bias_initializer: InitializerSpec = _initializer("the biases of the CNN encoder")
    conv_bias_initializer_kwargs: dict[str, Any] | None = _arguments("the biases of the CNN encoder")
    conv_use_layernorm: bool = _flag(False, "Layer normalisation in the CNN encoder.")
    conv_fcnet_hiddens: list[int] = _hiddens([], "the CNN encoder, after its convolutions")
    conv_channels_first: bool | None = setting(
        help="Whether an image's first axis is its channels; None: judged from its shape.", converter=optional(boolean)
    )

    head_fcnet_hiddens: list[int] = _hiddens([], "a head")
    head_fcnet_activation: ActivationSpec = _activation("relu", "a head")
    head_fcnet_kernel_initializer: InitializerSpec = _initializer("the weights of a head's hidden layers")
    head_fcnet_kernel_initializer_kwargs: dict[str, Any] | None = _arguments("the weights of a head's hidden layers")
    head_fcnet_bias_initializer: InitializerSpec = _initializer("the biases of a head's hidden layers")
    head_fcnet_bias_initializer_kwargs: dict[str, Any] | None = _arguments("the biases of a head's hidden layers")
    head_fcnet_use_layernorm: bool = _flag(False, "Layer normalisation in a head.")
    head_output_kernel_initializer: InitializerSpec = _initializer("the weights of a head's last layer")
    head_output_kernel_initializer_kwargs: dict[str, Any] | None = _arguments("the weights of a head's last layer")
    head_output_bias_initializer: InitializerSpec = _initializer("the biases of a head's last layer")
    head_output_bias_initializer_kwargs: dict[str, Any] | None = _arguments("the biases of a head's last layer")

    free_log_std: bool = _flag(False, "The deviation of continuous actions is a parameter, not an output.")
    log_std_clip_param: float = setting(20.0, help="Bound on its logarithm.", converter=number())
    log_std_init: float = setting(0.0, help="First value of its logarithm, with free_log_std.", converter=number())
    vf_share_layers: bool = _flag(True, "Policy and value function share the encoder.")
    normalize_actions: bool = _flag(True, "Modules act in [-1, 1], scaled to a bounded Box.")
    clip_actions: bool = _flag(True, "Clip continuous actions to the Box's bounds.")

    use_lstm: bool = _flag(False, "An LSTM round the encoder.")
    use_gru: bool = _flag(False, "A GRU round the encoder.")
    max_seq_len: int = _count(20, "Longest sequence that gradients go back through.")
    lstm_cell_size: int = _count(256, "Units of the LSTM or GRU.")
    lstm_num_layers: int = _count(1, "Layers of the LSTM or GRU.")
    lstm_use_prev_action: bool = _flag(False, "The previous action is an input.")
    lstm_use_prev_reward: bool = _flag(False, "The previous reward is an input.")
    lstm_kernel_initializer: InitializerSpec = _initializer("the weights of the LSTM or GRU")
    lstm_kernel_initializer_kwargs: dict[str, Any] | None = _arguments("the weights of the LSTM or GRU")
    lstm_bias_initializer: InitializerSpec = _initializer("the biases of the LSTM or GRU")
    lstm_bias_initializer_kwargs: dict[str, Any] | None = _arguments("the biases of the LSTM or GRU")

    fusionnet_hiddens: list[int] = _hiddens([256, 256], "the MLP that joins the parts of a Dict or Tuple observation")
    fusionnet_activation: ActivationSpec = _activation("tanh", "the fusion MLP")
    fusionnet_kernel_initializer: InitializerSpec = _initializer("the weights of the fusion MLP")
    fusionnet_kernel_initializer_kwargs: dict[str, Any] | None = _arguments("the weights of the fusion MLP")
    fusionnet_bias_initializer: InitializerSpec = _initializer("the biases of the fusion MLP")
    fusionnet_bias_initializer_kwargs: dict[str, Any] | None = _arguments("the biases of the fusion MLP")

    normalize_observations: bool = _flag(
        False, "Float observations by their running mean and variance, which are part of the module."
    )
    observation_clip: float = setting(10.0, help="Bound on a normalised observation.", converter=number())

    def __init__(self, **settings: Any) -> None:
        self._slotted: dict[str, Any] = {}
        super().__init__(**settings)

    def change(self, settings: Mapping[str, Any], *, section: str | None = None) -> DefaultModelConfig:
        """As :meth:`Settings.change`; settings of one slot (``pi_head_...``) are checked as those of every slot."""
        fields = {name: match[1] or match[2] for name in settings if (match := _SLOT_KEY.match(name))}
        fields = {name: field for name, field in fields.items() if field in self.known_settings()}
        slotted = {name: self.converted(field, settings[name]) for name, field in fields.items()}
        super().change({name: value for name, value in settings.items() if name not in slotted})
        self._slotted.update(slotted)
        return self

    def set_fields(self) -> dict[str, Any]:
        """Return the fields that were passed or assigned, and no others."""
        return {**super().set_fields(), **self._slotted}

    def stored_values(self) -> dict[str, Any]:
        """Every field, and those of one slot that were set."""
        return {**super().stored_values(), **self._slotted}

    def to_dict(self) -> dict[str, Any]:
        """Return every field."""
        return self.stored_values()

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]


def model_config_dict(layer: object) -> dict[str, Any]:
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
    kind: type[Any] = type(layer)
    if attrs.has(kind):
        return {f.name: getattr(layer, f.name) for f in attrs.fields(kind)}
    raise ConfigError(f"model_config: expected a dict or a DefaultModelConfig, got {type(layer).__name__}: {layer!r}")


def effective_model_config(*layers: object) -> dict[str, Any]:
    """Merge layers over the defaults: later ones win, by what they set. Values are not copied."""
    merged = _DEFAULTS.to_dict()
    for layer in layers:
        merged.update(model_config_dict(layer))
    return merged


def slot_model_config(model_config: Mapping[str, Any], slot: str) -> dict[str, Any]:
    """The settings for one head: ``{slot}_head_x`` takes the place of ``head_x``."""
    own = {name: value for name, value in model_config.items() if name.startswith(f"{slot}_head_")}
    return {**model_config, **{name.removeprefix(f"{slot}_"): value for name, value in own.items()}}


def is_of_a_slot(name: str) -> bool:
    """Whether it is a setting's name with that of a slot before it: ``pi_head_fcnet_hiddens``."""
    match = _SLOT_KEY.match(name)
    return match is not None and (match[1] or match[2]) in DefaultModelConfig.known_settings()


def encoder_model_config(model_config: Mapping[str, Any], slot: str) -> dict[str, Any]:
    """The settings for the encoder of one slot: ``{slot}_fcnet_x`` takes the place of ``fcnet_x``, and so on."""
    prefixes = tuple(f"{slot}_{group}" for group in _OF_ENCODERS)
    own = {name: value for name, value in model_config.items() if name.startswith(prefixes)}
    return {**model_config, **{name.removeprefix(f"{slot}_"): value for name, value in own.items()}}


_DEFAULTS = DefaultModelConfig()
# dataclasses.asdict(), fields() and replace() work on it, as on RLlib's.
_FIELDS = dataclasses.make_dataclass(
    "_FIELDS",
    [
        (name, Any, dataclasses.field(default_factory=item.make_default))
        for name, item in _DEFAULTS.known_settings().items()
    ],
)
DefaultModelConfig.__dataclass_fields__ = _FIELDS.__dataclass_fields__  # type: ignore[attr-defined]
