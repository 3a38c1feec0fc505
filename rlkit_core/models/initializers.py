"""Activations and weight initializers by name."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from rlkit_core.errors import ConfigError, did_you_mean

Activation = Callable[[torch.Tensor], torch.Tensor]
ActivationSpec = str | type[nn.Module] | Activation | None
InitializerSpec = str | Callable[..., Any] | None

_LINEAR = {"linear", "none", "identity"}
_FUNCTIONS: dict[str, Activation] = {
    "elu": F.elu,
    "gelu": F.gelu,
    "leakyrelu": F.leaky_relu,
    "relu": torch.relu,
    "selu": torch.selu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": F.softplus,
    "swish": F.silu,
    "tanh": torch.tanh,
}
# modules of torch.nn.modules.activation that need arguments, change a dimension or are no activation
_EXCLUDED = {"MultiheadAttention", "Threshold", "GLU", "Softmax2d"}
_MODULES: dict[str, type[nn.Module]] = {
    name.lower(): getattr(nn, name)
    for name in nn.modules.activation.__all__
    if name not in _EXCLUDED and not name.startswith("_")
}


def get_activation(spec: ActivationSpec) -> Activation | None:
    """Turn an activation setting into a function, or a new ``nn.Module``; None is the identity.

    Args:
        spec: a name of ``torch.nn`` in any case (``"relu"``, ``"ELU"``, ``"leaky_relu"``), ``"swish"``,
            ``"linear"`` or None; an ``nn.Module`` class or instance (copied); or a function of a tensor.

    Raises:
        ConfigError: unknown name, or a value of another kind.
    """
    if spec is None:
        return None
    if isinstance(spec, str):
        name = spec.lower()
        plain = name.replace("_", "")
        if name in _LINEAR:
            return None
        if plain in _FUNCTIONS:
            return _FUNCTIONS[plain]
        if plain in _MODULES:
            cls = _MODULES[plain]
            return cls(dim=-1) if "dim" in inspect.signature(cls).parameters else cls()
        known = sorted({*_LINEAR, *_FUNCTIONS, *_MODULES})
        raise ConfigError(
            f"unknown activation {spec!r}: expected a torch.nn name, 'linear', None or a callable."
            + did_you_mean(plain, known)
        )
    if isinstance(spec, type) and issubclass(spec, nn.Module):
        return spec()
    if isinstance(spec, nn.Module):
        return copy.deepcopy(spec)
    if callable(spec):
        return cast("Activation", spec)
    raise ConfigError(f"activation {spec!r}: expected a torch.nn name, 'linear', None or a callable")


def get_initializer(spec: InitializerSpec) -> Callable[..., Any] | None:
    """Turn an initializer setting into an in-place function; None keeps torch's default.

    Args:
        spec: a name of ``torch.nn.init`` (``"orthogonal_"``; the last underscore may be left out), a
            callable, or None.

    Raises:
        ConfigError: unknown name, or a value of another kind.
    """
    if spec is None:
        return None
    if isinstance(spec, str):
        name = spec if spec.endswith("_") else f"{spec}_"
        function: Callable[..., Any] | None = getattr(nn.init, name, None)
        if function is None or name.startswith("_"):
            known = [n for n in dir(nn.init) if n.endswith("_") and not n.startswith("_")]
            raise ConfigError(
                f"unknown initializer {spec!r}: expected an in-place function of torch.nn.init, such as "
                f"'orthogonal_', or a callable.{did_you_mean(name, known)}"
            )
        return function
    if callable(spec):
        called: Callable[..., Any] = spec
        return called
    raise ConfigError(f"initializer {spec!r}: expected a torch.nn.init name, a callable or None")


def initialize(parameter: torch.Tensor | None, spec: InitializerSpec, kwargs: Mapping[str, Any] | None = None) -> None:
    """Fill ``parameter`` in place as ``spec`` says; does nothing when either is None.

    Raises:
        ConfigError: unknown initializer, or one that does not accept the parameter or ``kwargs``.
    """
    function = get_initializer(spec)
    if function is None or parameter is None:
        return
    try:
        with torch.no_grad():
            function(parameter, **(kwargs or {}))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"initializer {spec!r} with {dict(kwargs or {})} failed on a parameter of shape "
            f"{tuple(parameter.shape)}: {error}"
        ) from error


def initialize_layer(layer: nn.Module, config: object, weights: str, bias: str) -> None:
    """:func:`initialize` a layer's weight and bias as the fields ``{weights}_initializer(_config)`` of a config say."""
    for parameter, name in ((layer.weight, weights), (layer.bias, bias)):
        spec, kwargs = getattr(config, f"{name}_initializer"), getattr(config, f"{name}_initializer_config")
        initialize(cast("torch.Tensor | None", parameter), spec, kwargs)
