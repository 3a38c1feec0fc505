"""MLP encoders and heads of Keras layers, from the core's model configs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import keras
import tensorflow as tf
import torch

from rlkit_core.columns import ENCODER_OUT, Columns
from rlkit_core.errors import ConfigError
from rlkit_core.models import FreeLogStdMLPHeadConfig, MLPEncoderConfig, MLPHeadConfig
from rlkit_core.models.mlp import LAYERNORM_EPS, MLPSettings


class TfMLP(keras.layers.Layer):  # type: ignore[misc,unused-ignore]
    """Dense layers, each with its norm and activation; the output layer may be left out.

    Weights begin as those of the core's torch network with these settings and this state of torch's generator do.
    """

    def __init__(self, config: MLPSettings, output_dim: int | None = None) -> None:
        super().__init__()
        # The torch network draws its weights as the settings say; these begin with the same ones.
        like = config.build_mlp(output_dim)
        self.denses: list[Any] = []
        self.norms: dict[str, Any] = {}
        self.functions: list[Any] = []
        kinds = ["hidden"] * len(config.hidden_layer_dims)
        kinds += ["output"] * (len(like.plan) - len(kinds))
        for index, (kind, (linear, norm, _)) in enumerate(zip(kinds, like.plan, strict=True)):
            dense = keras.layers.Dense(linear.out_features, use_bias=linear.bias is not None)
            dense.build((None, linear.in_features))
            dense.kernel.assign(linear.weight.detach().numpy().T)
            if linear.bias is not None:
                dense.bias.assign(linear.bias.detach().numpy())
            self.denses.append(dense)
            if norm is not None:
                self.norms[str(index)] = made = keras.layers.LayerNormalization(epsilon=LAYERNORM_EPS)
                made.build((None, linear.out_features))
            self.functions.append(activation(getattr(config, f"{kind}_layer_activation")))
        self.built = True

    def call(self, x: Any) -> Any:
        """Map ``(..., input_dim)`` to ``(..., output)``."""
        for index, (dense, function) in enumerate(zip(self.denses, self.functions, strict=True)):
            x = dense(x)
            if str(index) in self.norms:
                x = self.norms[str(index)](x)
            if function is not None:
                x = function(x)
        return x


_ACTIVATIONS: Mapping[str, Callable[[Any], Any]] = {
    "elu": tf.nn.elu,
    "gelu": tf.nn.gelu,
    "leakyrelu": lambda x: tf.nn.leaky_relu(x, 0.01),
    "relu": tf.nn.relu,
    "selu": tf.nn.selu,
    "sigmoid": tf.nn.sigmoid,
    "silu": tf.nn.silu,
    "softplus": tf.nn.softplus,
    "swish": tf.nn.silu,
    "tanh": tf.nn.tanh,
}


def activation(spec: Any) -> Callable[[Any], Any] | None:
    """What an activation of the settings names, in TensorFlow; a function stays, None is the identity.

    Raises:
        ConfigError: there is none of that name, or it is one of torch's modules.
    """
    if spec is None or (isinstance(spec, str) and spec.lower() in ("linear", "none", "identity")):
        return None
    if isinstance(spec, str) and (found := _ACTIVATIONS.get(spec.lower().replace("_", ""))):
        return found
    if callable(spec) and not isinstance(spec, type | torch.nn.Module):
        return spec  # type: ignore[no-any-return]
    raise ConfigError(
        f"activation {spec!r} in TensorFlow: expected one of {', '.join(_ACTIVATIONS)}, a function of tensors, or None"
    )


class TfMLPEncoder(keras.layers.Layer):  # type: ignore[misc,unused-ignore]
    """``{"obs": (..., D)}`` to ``{"encoder_out": (..., H)}``; see :class:`~rlkit_core.models.MLPEncoderConfig`."""

    input_columns = (Columns.OBS,)

    def __init__(self, config: MLPEncoderConfig) -> None:
        super().__init__()
        self.net = TfMLP(config)
        self._rank, self._uint8_scale = config.observation_rank, config.uint8_scale
        self.built = True

    def call(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Encode ``batch["obs"]``."""
        x = batch[Columns.OBS]
        scale = self._uint8_scale if x.dtype == tf.uint8 else None
        x = tf.cast(x, tf.float32)
        if scale is not None:
            x = x * scale
        if self._rank != 1:
            lead = tf.shape(x)[: len(x.shape) - self._rank]
            x = tf.reshape(x, tf.concat([lead, [-1 if self._rank else 1]], 0))
        return {ENCODER_OUT: self.net(x)}


class TfMLPHead(keras.layers.Layer):  # type: ignore[misc,unused-ignore]
    """``(..., D)`` to ``(..., output_layer_dim)``; see :class:`~rlkit_core.models.MLPHeadConfig`."""

    def __init__(self, config: MLPHeadConfig) -> None:
        super().__init__()
        if config.clip_log_std and config.output_dims[0] % 2:
            raise ConfigError(
                f"clip_log_std: the output must be even (means, log standard deviations), got {config.output_dims[0]}"
            )
        self.net = TfMLP(config)
        self._bound = config.log_std_clip_param if config.clip_log_std else None
        self.built = True

    def call(self, x: Any) -> Any:
        """Map an encoder's output."""
        out = self.net(x)
        if self._bound is None:
            return out
        means, log_std = tf.split(out, 2, -1)
        return tf.concat([means, tf.clip_by_value(log_std, -self._bound, self._bound)], -1)


class TfFreeLogStdMLPHead(keras.layers.Layer):  # type: ignore[misc,unused-ignore]
    """``(..., D)`` to ``(..., 2k)``: means from the MLP, log standard deviations from a variable."""

    def __init__(self, config: FreeLogStdMLPHeadConfig) -> None:
        super().__init__()
        half = config.output_dims[0] // 2
        if config.output_layer_dim is not None:
            self.net = TfMLP(config, half)
        else:
            self.net = TfMLP(attrs.evolve(config, hidden_layer_dims=(*config.hidden_layer_dims[:-1], half)))
        self.log_std = self.add_weight(
            shape=(half,), initializer=keras.initializers.Constant(config.log_std_init), name="log_std"
        )
        self._bound = config.log_std_clip_param if config.clip_log_std else None
        self.built = True

    def call(self, x: Any) -> Any:
        """Map an encoder's output ``(..., D)``."""
        means, log_std = self.net(x), tf.convert_to_tensor(self.log_std)
        if self._bound is not None:
            log_std = tf.clip_by_value(log_std, -self._bound, self._bound)
        return tf.concat([means, tf.broadcast_to(log_std, tf.shape(means))], -1)


_NETWORKS: Mapping[type, type] = {
    MLPEncoderConfig: TfMLPEncoder,
    MLPHeadConfig: TfMLPHead,
    FreeLogStdMLPHeadConfig: TfFreeLogStdMLPHead,
}


def build(config: Any) -> Any:
    """A new network for a model config.

    Raises:
        ConfigError: it is of another class than those that have one.
    """
    network = _NETWORKS.get(type(config))
    if network is None:
        names = ", ".join(cls.__name__ for cls in _NETWORKS)
        raise ConfigError(
            f"{type(config).__name__}: it has no network in TensorFlow, which has those of {names}; make one of Keras "
            "layers in your module's setup()"
        )
    return network(config)
