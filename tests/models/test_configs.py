"""DefaultModelConfig, activations, initializers, MLPs and heads."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from itertools import product

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from rlkit_core.errors import ConfigError, PluginNotFoundError, UnknownSettingError
from rlkit_core.models import (
    ActorCriticEncoderConfig,
    CNNEncoderConfig,
    DefaultModelConfig,
    Encoder,
    FreeLogStdMLPHeadConfig,
    MLPEncoderConfig,
    MLPHeadConfig,
    ModelConfig,
    effective_model_config,
    get_activation,
    slot_model_config,
)


def box(*shape, low=-1.0, high=1.0, dtype=np.float32):
    return gym.spaces.Box(low, high, shape, dtype)


def layer_norms(module):
    return sum(isinstance(m, nn.LayerNorm) for m in module.modules())


# --- settings ------------------------------------------------------------------------------------------------


def test_only_what_was_set_overrides():
    config = DefaultModelConfig(fcnet_hiddens=[8], pi_head_output_kernel_initializer="orthogonal_")
    config.use_lstm = True
    chosen = {"fcnet_hiddens": [8], "pi_head_output_kernel_initializer": "orthogonal_", "use_lstm": True}
    assert config.set_fields() == chosen
    merged = effective_model_config({"vf_share_layers": False, "fcnet_hiddens": [4]}, config, {"extra": 1})
    assert merged["vf_share_layers"] is False
    assert merged["fcnet_hiddens"] == [8]
    assert merged["extra"] == 1
    assert merged["fusionnet_hiddens"] == [256, 256]
    for twin in (pickle.loads(pickle.dumps(config)), copy.deepcopy(config)):
        assert twin.set_fields() == chosen
    assert DefaultModelConfig().set_fields() == {}
    assert effective_model_config() == DefaultModelConfig().to_dict()


def test_later_layers_win_even_with_false_and_empty_values():
    merged = effective_model_config({"use_lstm": True, "fcnet_hiddens": [4]}, {"use_lstm": False, "fcnet_hiddens": []})
    assert merged["use_lstm"] is False
    assert merged["fcnet_hiddens"] == []
    marker = nn.Linear(1, 1)
    assert effective_model_config({"encoder": marker})["encoder"] is marker


def test_defaults_are_not_shared_between_instances():
    first = DefaultModelConfig()
    first.fcnet_hiddens.append(3)
    assert DefaultModelConfig().fcnet_hiddens == [256, 256]


def test_figures_of_rllib():
    config = DefaultModelConfig()
    figures = {
        "fcnet_hiddens": [256, 256], "fcnet_activation": "tanh", "fcnet_use_layernorm": False,
        "conv_filters": None, "conv_activation": "relu", "head_fcnet_hiddens": [],
        "head_fcnet_activation": "relu", "free_log_std": False, "log_std_clip_param": 20.0,
        "vf_share_layers": True, "use_lstm": False, "max_seq_len": 20, "lstm_cell_size": 256,
        "lstm_use_prev_action": False, "lstm_use_prev_reward": False, "fusionnet_hiddens": [256, 256],
        "fusionnet_activation": "tanh",
    }  # fmt: skip
    assert {name: config[name] for name in figures} == figures
    for group in ("fcnet", "conv", "head_fcnet", "lstm", "fusionnet"):
        for part, end in (("kernel", ""), ("kernel", "_kwargs"), ("bias", ""), ("bias", "_kwargs")):
            assert config[f"{group}_{part}_initializer{end}"] is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fcnet_hidden": [1]}, "Did you mean 'fcnet_hiddens'"),
        ({"fcnet_activation": "rellu"}, "Did you mean 'relu'"),
        ({"fcnet_hiddens": [0]}, "positive integers"),
        ({"head_fcnet_kernel_initializer": "ortogonal_"}, "Did you mean 'orthogonal_'"),
        ({"pi_head_fcnet_kernel_initializer": "ortogonal_"}, "orthogonal_"),
        ({"lstm_cell_size": -1}, r"DefaultModelConfig\(lstm_cell_size=-1\): expected a whole number >= 1"),
        ({"conv_filters": [[1, 2]]}, "channels, kernel, stride"),
        ({"use_lstm": 1}, "True or False"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        DefaultModelConfig(**wrong)
    name, value = next(iter(wrong.items()))
    with pytest.raises(ConfigError, match=message):
        setattr(DefaultModelConfig(), name, value)


def test_unknown_setting_is_an_attribute_error_too():
    with pytest.raises(UnknownSettingError):
        DefaultModelConfig().fcnet_hidens = [1]


def test_activations_by_name_class_and_callable():
    x = torch.linspace(-2, 2, 9)
    for name, reference in {
        "relu": nn.ReLU(),
        "ReLU": nn.ReLU(),
        "tanh": nn.Tanh(),
        "ELU": nn.ELU(),
        "swish": nn.SiLU(),
        "silu": nn.SiLU(),
        "leaky_relu": nn.LeakyReLU(),
        "Hardswish": nn.Hardswish(),
        "softmax": nn.Softmax(-1),
    }.items():
        torch.testing.assert_close(get_activation(name)(x), reference(x))
    assert get_activation("linear") is None
    assert get_activation(None) is None
    assert isinstance(get_activation(nn.PReLU), nn.PReLU)
    shared = nn.PReLU()
    assert get_activation(shared) is not shared
    with pytest.raises(ConfigError, match="callable"):
        get_activation(3)
    net = MLPEncoderConfig(input_dims=(2,), hidden_layer_dims=(3, 3), hidden_layer_activation=nn.PReLU).build()
    assert sum(isinstance(m, nn.PReLU) for m in net.modules()) == 2
    assert len(list(net.parameters())) == 6


# --- MLPs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hidden", "out", "activation", "bias", "norm"),
    list(product([(), (5,), (6, 4)], [None, 3], ["linear", "tanh", "relu"], [True, False], [True, False])),
)
def test_mlp_encoder_equals_a_sequential(hidden, out, activation, bias, norm):
    config = MLPEncoderConfig(
        input_dims=(7,),
        hidden_layer_dims=hidden,
        hidden_layer_activation=activation,
        hidden_layer_use_bias=bias,
        hidden_layer_use_layernorm=norm,
        output_layer_dim=out,
        output_layer_use_bias=bias,
        output_layer_activation=activation,
        output_layer_use_layernorm=norm,
    )
    net = config.build()
    layers = []
    linears = iter([m for m in net.modules() if isinstance(m, nn.Linear)])
    norms = iter([m for m in net.modules() if isinstance(m, nn.LayerNorm)])
    functions = {"linear": nn.Identity(), "tanh": nn.Tanh(), "relu": nn.ReLU()}
    for _ in range(len(hidden) + (out is not None)):
        layers += [next(linears), *([next(norms)] if norm else []), functions[activation]]
    x = torch.randn(2, 7)
    y = net({"obs": x})["encoder_out"]
    torch.testing.assert_close(y, nn.Sequential(*layers)(x))
    assert tuple(y.shape[1:]) == config.output_dims
    assert layer_norms(net) == (len(hidden) + (out is not None)) * norm


def test_layernorm_counts_of_actor_critics():
    for hiddens, shared, expected in (
        ([16, 16], False, 4),
        ([16, 16], True, 2),
        ([16], False, 2),
        ([8] * 3, False, 6),
    ):
        base = MLPEncoderConfig.from_space(box(3), {"fcnet_hiddens": hiddens, "fcnet_use_layernorm": True})
        assert layer_norms(ActorCriticEncoderConfig(base_encoder_config=base, shared=shared).build()) == expected


def test_mlp_from_space_honours_every_fcnet_field():
    config = MLPEncoderConfig.from_space(
        box(3),
        {
            "fcnet_hiddens": [5, 4],
            "fcnet_activation": "relu",
            "fcnet_kernel_initializer": "orthogonal_",
            "fcnet_kernel_initializer_kwargs": {"gain": 2.0},
            "fcnet_bias_initializer": nn.init.constant_,
            "fcnet_bias_initializer_kwargs": {"val": 0.25},
        },
    )
    net = config.build()
    first, second = (m for m in net.modules() if isinstance(m, nn.Linear))
    torch.testing.assert_close(first.weight.T @ first.weight, 4.0 * torch.eye(3), atol=1e-5, rtol=1e-5)
    assert (second.bias == 0.25).all()
    assert config.output_dims == (4,)
    assert net({"obs": torch.randn(2, 3)})["encoder_out"].min() >= 0


def test_empty_hiddens_is_the_identity():
    config = MLPEncoderConfig.from_space(box(3), {"fcnet_hiddens": []})
    x = torch.randn(2, 3)
    assert config.output_dims == (3,)
    assert (config.build()({"obs": x})["encoder_out"] == x).all()


def test_mlp_flattens_casts_and_scales():
    for space, obs in (
        (box(2, 3), torch.randn(4, 2, 3)),
        (box(), torch.randn(4)),
        (box(6, dtype=np.float64), torch.randn(4, 6, dtype=torch.float64)),
    ):
        config = MLPEncoderConfig.from_space(space, {"fcnet_hiddens": [5]})
        assert config.build()({"obs": obs})["encoder_out"].shape == (4, 5)
    ram = MLPEncoderConfig.from_space(box(2, low=0, high=255, dtype=np.uint8), {"fcnet_hiddens": []}).build()
    out = ram({"obs": torch.tensor([[0, 255]], dtype=torch.uint8)})["encoder_out"]
    torch.testing.assert_close(out, torch.tensor([[0.0, 1.0]]))
    flags = MLPEncoderConfig.from_space(box(2, low=0, high=1, dtype=np.uint8), {"fcnet_hiddens": []}).build()
    assert flags({"obs": torch.tensor([[0, 1]], dtype=torch.uint8)})["encoder_out"].tolist() == [[0.0, 1.0]]


def test_parametrised_layers_and_copies_keep_working():
    net = MLPEncoderConfig(input_dims=(3,), hidden_layer_dims=(4,)).build()
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    x = torch.randn(2, 3)
    assert (twin({"obs": x})["encoder_out"] == 0).all()
    assert (net({"obs": x})["encoder_out"] != 0).any()
    nn.utils.parametrizations.spectral_norm(net.net.layers[0])
    net.eval()
    layer = net.net.layers[0]
    torch.testing.assert_close(net({"obs": x})["encoder_out"], torch.relu(layer(x)))


def test_invalid_mlps_are_refused_at_build():
    for wrong in (
        {"input_dims": (3, 3)},
        {"input_dims": None},
        {"input_dims": (3,), "hidden_layer_dims": (0,)},
        {"input_dims": (3,), "output_layer_dim": -1},
        {"input_dims": (3,), "hidden_layer_activation": "relux"},
        {
            "input_dims": (3,),
            "hidden_layer_weights_initializer": "zeros_",
            "hidden_layer_weights_initializer_config": {"no": 1},
        },
    ):
        with pytest.raises(ConfigError):
            MLPEncoderConfig(**wrong).build()
    for config in (MLPEncoderConfig(input_dims=(3,)), CNNEncoderConfig(input_dims=(8, 8, 3), cnn_filter_specifiers=[])):
        with pytest.raises(PluginNotFoundError, match="no framework named 'jax'"):
            config.build(framework="jax")


def test_parameter_counts_and_dummy_weights():
    net = MLPEncoderConfig(input_dims=(2,), hidden_layer_dims=(3,)).build()
    net.net.layers[0].bias.requires_grad_(False)
    assert net.get_num_parameters() == (6, 3)
    net._set_to_dummy_weights((0.5, -0.5))
    assert [p.unique().tolist() for p in net.parameters()] == [[0.5], [-0.5]]
    assert net.get_initial_state() == {}


# --- heads ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hidden", "norm"), list(product([[], [6]], [True, False])))
def test_heads_from_settings(hidden, norm):
    settings = {"head_fcnet_hiddens": hidden, "head_fcnet_use_layernorm": norm, "free_log_std": True}
    for cls in (MLPHeadConfig, FreeLogStdMLPHeadConfig):
        config = cls.from_dims((5,), 4, settings)
        head = config.build()
        assert config.output_dims == (4,)
        assert layer_norms(head) == len(hidden) * norm
        assert head(torch.randn(2, 5)).shape == (2, 4)
        assert head(torch.randn(2, 3, 5)).shape == (2, 3, 4)


def test_slot_settings_reach_one_head_only():
    settings = effective_model_config(
        {
            "head_output_kernel_initializer": "ones_",
            "pi_head_output_kernel_initializer": "zeros_",
            "head_fcnet_bias_initializer": "zeros_",
        }
    )
    pi = MLPHeadConfig.from_dims((5,), 2, slot_model_config(settings, "pi")).build()
    vf = MLPHeadConfig.from_dims((5,), 1, slot_model_config(settings, "vf")).build()
    assert pi(torch.ones(1, 5)).tolist() == [[0.0, 0.0]]
    assert vf(torch.ones(1, 5)).tolist() == [[5.0]]


def test_log_std_is_clipped_in_its_half_only():
    settings = {"clip_log_std": True, "log_std_clip_param": 0.5, "log_std_init": 3.0}
    head = MLPHeadConfig.from_dims((5,), 4, settings).build()
    head._set_to_dummy_weights((10.0,))
    assert head(torch.ones(1, 5)).tolist() == [[60.0, 60.0, 0.5, 0.5]]
    assert "low" not in head.state_dict()
    free = FreeLogStdMLPHeadConfig.from_dims((5,), 4, settings).build()
    out = free(torch.zeros(2, 3, 5))
    assert (out[..., 2:] == 0.5).all()
    assert free.log_std.tolist() == [3.0, 3.0]


def test_free_log_std_starts_at_zero_and_learns():
    config = FreeLogStdMLPHeadConfig(input_dims=(5,), hidden_layer_dims=(6, 4))
    head = config.build()
    out = head(torch.randn(2, 5))
    assert out.shape == (2, 4)
    assert (out[:, 2:] == 0).all()
    out.sum().backward()
    assert head.log_std.grad.tolist() == [2.0, 2.0]
    with pytest.raises(ConfigError, match="even"):
        FreeLogStdMLPHeadConfig(input_dims=(5,), output_layer_dim=3).build()


# --- actor-critic --------------------------------------------------------------------------------------------


def test_actor_critic_shared_and_separate():
    base = MLPEncoderConfig(input_dims=(3,), hidden_layer_dims=(4,))
    x = {"obs": torch.randn(2, 3)}
    shared = ActorCriticEncoderConfig(base_encoder_config=base).build()
    out = shared(x)["encoder_out"]
    assert out["actor"] is out["critic"]
    assert set(shared(x, only="critic")["encoder_out"]) == {"critic"}
    separate = ActorCriticEncoderConfig(base_encoder_config=base, shared=False).build()
    out = separate(x)["encoder_out"]
    assert not torch.equal(out["actor"], out["critic"])
    for part in ("actor", "critic"):
        assert torch.equal(separate(x, only=part)["encoder_out"][part], out[part])
        assert set(separate(x, only=part)["encoder_out"]) == {part}
    acting = ActorCriticEncoderConfig(base_encoder_config=base, shared=False, inference_only=True).build()
    assert set(acting(x)["encoder_out"]) == {"actor"}
    assert acting.get_num_parameters()[0] * 2 == separate.get_num_parameters()[0]
    del separate.critic_encoder
    assert set(separate(x)["encoder_out"]) == {"actor"}


def test_any_model_config_may_be_the_base():
    class Fancy(Encoder):
        def _forward(self, batch):
            return {"encoder_out": batch["obs"].mean(-1)}

    @dataclass
    class FancyConfig(ModelConfig):
        output_dims: tuple = (3,)

        def build(self, framework="torch"):
            return Fancy(self)

    config = ActorCriticEncoderConfig(base_encoder_config=FancyConfig(), shared=False)
    assert config.output_dims == (3,)
    assert config.build()({"obs": torch.randn(2, 3, 4)})["encoder_out"]["critic"].shape == (2, 3)
    with pytest.raises(ConfigError, match="ModelConfig"):
        ActorCriticEncoderConfig(base_encoder_config=nn.Linear(1, 1))

    class Wrong(Encoder):
        def forward(self, batch):
            return batch["obs"]

    @dataclass
    class WrongConfig(FancyConfig):
        def build(self, framework="torch"):
            return Wrong(self)

    with pytest.raises(ConfigError, match="must return a dict with 'encoder_out'"):
        ActorCriticEncoderConfig(base_encoder_config=WrongConfig()).build()({"obs": torch.zeros(1, 2)})


def test_shapes_are_checked_on_request():
    for config, good, bad in (
        (
            MLPEncoderConfig(input_dims=(3,), always_check_shapes=True),
            {"obs": torch.zeros(2, 3)},
            {"obs": torch.zeros(2, 4)},
        ),
        (
            MLPHeadConfig(input_dims=(3,), output_layer_dim=1, always_check_shapes=True),
            torch.zeros(3),
            torch.zeros(4),
        ),
    ):
        net = config.build()
        net(good)
        with pytest.raises(ConfigError, match=r"expected an input of shape \(\.\.\., 3\), got"):
            net(bad)
    flat = MLPEncoderConfig.from_space(box(2, 3), {})
    flat.always_check_shapes = True
    flat.build()({"obs": torch.zeros(4, 2, 3)})


def test_compiled_forward_is_callable():
    net = MLPEncoderConfig(input_dims=(3,), hidden_layer_dims=(4,)).build()
    x = {"obs": torch.randn(2, 3)}
    compiled = torch.compile(net, backend="eager")
    torch.testing.assert_close(compiled(x)["encoder_out"], net(x)["encoder_out"])
