"""MLP encoders and heads of Keras: chosen by the same rules as torch's, and equal to them."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
import torch
from rlkit_tensorflow import TfRLModule

from rlkit_core import Catalog, Columns
from rlkit_core.columns import ENCODER_OUT
from rlkit_core.errors import ConfigError
from rlkit_core.models import CNNEncoderConfig, FreeLogStdMLPHeadConfig, MLPEncoderConfig, MLPHeadConfig
from rlkit_core.models.tf import tf_distributions

OBS = np.random.default_rng(0).uniform(-2, 2, (6, 5)).astype(np.float32)
ACTIVATIONS = ["relu", "tanh", "linear", "ELU", "gelu", "leaky_relu", "selu", "sigmoid", "swish", "softplus"]


def both(config):
    """The network of each framework, with equal weights, as they begin alike."""
    torch.manual_seed(1)
    theirs = config.build(framework="torch")
    torch.manual_seed(1)
    return config.build(framework="tf2"), theirs


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", [False, True])
def test_encoders_compute_what_torchs_do(activation, norm):
    config = MLPEncoderConfig(
        input_dims=(5,),
        hidden_layer_dims=[8, 7],
        hidden_layer_activation=activation,
        hidden_layer_use_layernorm=norm,
        output_layer_dim=3,
        hidden_layer_weights_initializer="orthogonal_",
    )
    mine, theirs = both(config)
    out = mine({Columns.OBS: tf.constant(OBS)})[ENCODER_OUT]
    np.testing.assert_allclose(out, theirs({Columns.OBS: torch.tensor(OBS)})[ENCODER_OUT].detach(), atol=1e-5)


HEAD = {"input_dims": (5,), "output_layer_dim": 6}
HEADS = {
    "plain": MLPHeadConfig(**HEAD, hidden_layer_dims=[4], hidden_layer_use_bias=False),
    "clipped": MLPHeadConfig(**HEAD, hidden_layer_dims=[], clip_log_std=True, log_std_clip_param=0.1),
    "free": FreeLogStdMLPHeadConfig(**HEAD, hidden_layer_dims=[4], log_std_init=-0.5),
    "free and clipped": FreeLogStdMLPHeadConfig(
        input_dims=(5,), hidden_layer_dims=[6], log_std_init=3.0, clip_log_std=True, log_std_clip_param=2.0
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_compute_what_torchs_do(name):
    mine, theirs = both(HEADS[name])
    np.testing.assert_allclose(mine(tf.constant(OBS)), theirs(torch.tensor(OBS)).detach(), atol=1e-5)


def test_pictures_and_bytes_are_flattened_and_scaled():
    space = gym.spaces.Box(0, 255, (2, 3), np.uint8)
    mine, theirs = both(MLPEncoderConfig.from_space(space, {"fcnet_hiddens": [4]}))
    obs = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20
    out = mine({Columns.OBS: tf.constant(obs)})[ENCODER_OUT]
    np.testing.assert_allclose(out, theirs({Columns.OBS: torch.tensor(obs)})[ENCODER_OUT].detach(), atol=1e-5)


class Chosen(TfRLModule):
    """Networks of the catalog."""

    default_catalog_class = Catalog

    def setup(self):
        width = self.action_dist_cls.required_input_dim(self.action_space)
        self.encoder = self.catalog.build_encoder(framework="tf2")
        self.pi = self.catalog.head_config("pi", width).build(framework="tf2")

    def _forward(self, batch, **kwargs):
        return {Columns.ACTION_DIST_INPUTS: self.pi(self.encoder(batch)[ENCODER_OUT])}


@pytest.mark.parametrize(
    "actions", [gym.spaces.Discrete(3), gym.spaces.Box(-1, 1, (2,)), gym.spaces.MultiDiscrete([2, 3])]
)
def test_a_module_of_the_catalogs_networks(actions, tmp_path):
    space = gym.spaces.Box(-2, 2, (5,), np.float32)
    kw = {"observation_space": space, "action_space": actions, "model_config": {"fcnet_hiddens": [8]}}
    module = Chosen(**kw)
    assert issubclass(module.action_dist_cls, tf_distributions.Distribution)
    trace = {row["kind"]: row["id"] for row in module.component_trace()}
    assert trace.keys() == {"distribution", "encoder", "head"}
    assert trace["encoder"] == "rlkit-core/mlp"
    assert {"encoder.net.denses.0.kernel", "pi.net.denses.0.bias"} <= set(module.get_state())
    chosen, _ = module.compute_actions(OBS, explore=True)
    assert actions.contains(np.asarray(chosen)[0])
    module.save_to_path(tmp_path / "module")
    again = Chosen(**kw)
    again.restore_from_path(tmp_path / "module")
    np.testing.assert_array_equal(again.compute_actions(OBS)[0], module.compute_actions(OBS)[0])


def test_what_has_no_network():
    with pytest.raises(ConfigError, match=r"CNNEncoderConfig.*no network in framework 'tf2'"):
        CNNEncoderConfig(input_dims=(8, 8, 3), cnn_filter_specifiers=[[4, 2, 1]]).build(framework="tf2")

    class Own(MLPEncoderConfig):
        pass

    with pytest.raises(ConfigError, match=r"Own: it has no network in TensorFlow, which has those of MLPEncoderConfig"):
        Own(input_dims=(3,)).build(framework="tf2")
    with pytest.raises(ConfigError, match="activation 'prelu' in TensorFlow"):
        MLPEncoderConfig(input_dims=(3,), hidden_layer_activation="prelu").build(framework="tf2")
