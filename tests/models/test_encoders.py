"""Image, discrete, composed and recurrent encoders, and the image head."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rlkit_core.errors import ConfigError
from rlkit_core.models import (
    ActorCriticEncoderConfig,
    CNNEncoderConfig,
    CNNTransposeHeadConfig,
    MLPEncoderConfig,
    MultiStreamEncoderConfig,
    OneHotEncoderConfig,
    RecurrentEncoderConfig,
)


def image(*shape, dtype=np.uint8, high=255):
    return spaces.Box(0, high, shape, dtype)


def config_for(space, settings=None):
    """What a catalog does, in four lines."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return MultiStreamEncoderConfig.from_space(space, settings or {}, lambda sub, path: config_for(sub, settings))
    if isinstance(space, spaces.Box):
        cls = MLPEncoderConfig if len(space.shape) == 1 else CNNEncoderConfig
        return cls.from_space(space, settings or {})
    return OneHotEncoderConfig.from_space(space, settings or {})


def batch_of(space, n, seed=0):
    space.seed(seed)
    rows = [space.sample() for _ in range(n)]

    def stack(items, at):
        if isinstance(at, spaces.Dict):
            return {k: stack([i[k] for i in items], s) for k, s in at.spaces.items()}
        if isinstance(at, spaces.Tuple):
            return tuple(stack([i[k] for i in items], s) for k, s in enumerate(at.spaces))
        return torch.as_tensor(np.stack(items))

    return stack(rows, space)


# --- CNN -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [(96, 96, 3), (84, 84, 4), (64, 64, 3), (42, 42, 1), (10, 10, 3), (4, 84, 84), (3, 64, 64), (7, 7, 3),
     (1, 1, 2), (210, 160, 3), (5, 40, 3), (33, 91, 2), (20, 20), (3, 9)],
)  # fmt: skip
def test_cnn_fits_every_image_size(shape):
    config = CNNEncoderConfig.from_space(image(*shape), {})
    out = config.build()({"obs": torch.zeros(2, *shape, dtype=torch.uint8)})["encoder_out"]
    assert tuple(out.shape) == (2, *config.output_dims)
    assert out.shape[1] <= 2048


@pytest.mark.parametrize(
    ("filters", "bias", "norm", "activation", "flat"),
    list(
        product(
            [[[4, 3, 2], [5, 4, 2, "valid"]], [[4, [3, 2], [1, 2], "same"]], [[2, 5, 3], [3, 2, 1]], []],
            [True, False],
            [True, False],
            ["relu", "linear"],
            [True, False],
        )
    ),
)
def test_cnn_output_dims_are_exact(filters, bias, norm, activation, flat):
    config = CNNEncoderConfig(
        input_dims=(13, 10, 3),
        cnn_filter_specifiers=filters,
        cnn_use_bias=bias,
        cnn_use_layernorm=norm,
        cnn_activation=activation,
        flatten_at_end=flat,
    )
    out = config.build()({"obs": torch.randn(2, 13, 10, 3)})["encoder_out"]
    assert tuple(out.shape) == (2, *config.output_dims)


def test_cnn_layouts_and_dtypes_agree():
    settings = {"conv_filters": [[4, 3, 2], [6, 3, 1, "valid"]], "conv_fcnet_hiddens": [8]}
    last = CNNEncoderConfig.from_space(image(9, 9, 2), settings)
    first = CNNEncoderConfig.from_space(image(2, 9, 9), settings)
    assert not last.channels_first
    assert first.channels_first
    assert last.output_dims == first.output_dims == (8,)
    a, b = last.build(), first.build()
    b.load_state_dict(a.state_dict())
    frames = torch.randint(0, 256, (3, 9, 9, 2), dtype=torch.uint8)
    expected = a({"obs": frames})["encoder_out"]
    torch.testing.assert_close(b({"obs": frames.permute(0, 3, 1, 2)})["encoder_out"], expected)
    torch.testing.assert_close(a({"obs": frames.float() / 255})["encoder_out"], expected)
    torch.testing.assert_close(a({"obs": frames.double() / 255})["encoder_out"], expected)
    forced = CNNEncoderConfig.from_space(image(9, 9, 9), {**settings, "conv_channels_first": True})
    assert forced.channels_first


def test_cnn_same_padding_is_centred():
    config = CNNEncoderConfig(input_dims=(5, 5, 1), cnn_filter_specifiers=[[1, 3, 1]], cnn_activation=None)
    net = config.build()
    net._set_to_dummy_weights((1.0, 0.0))
    frame = torch.zeros(1, 5, 5, 1)
    frame[0, 2, 2] = 1.0
    expected = F.pad(torch.ones(3, 3), (1, 1, 1, 1)).reshape(1, -1)
    torch.testing.assert_close(net({"obs": frame})["encoder_out"], expected)


def test_cnn_settings_and_refusals():
    net = CNNEncoderConfig.from_space(
        image(8, 8, 1),
        {
            "conv_filters": [[2, 3, 1]],
            "conv_activation": "tanh",
            "conv_kernel_initializer": "constant_",
            "conv_kernel_initializer_kwargs": {"val": 3.0},
            "conv_bias_initializer": "ones_",
        },
    ).build()
    conv = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    assert (conv.weight == 3).all()
    assert (conv.bias == 1).all()
    for wrong in (
        {"cnn_filter_specifiers": [[2, 9, 1, "valid"]]},
        {"cnn_filter_specifiers": [[2, 3]]},
        {"cnn_filter_specifiers": [[2, 3, 1, "full"]]},
        {"dense_layer_dims": (3,), "flatten_at_end": False},
        {"input_dims": (8,)},
    ):
        with pytest.raises(ConfigError):
            CNNEncoderConfig(**{"input_dims": (8, 8, 1), "cnn_filter_specifiers": [[2, 3, 1]], **wrong}).build()


@pytest.mark.parametrize(
    ("start", "rows", "expected"),
    [
        ((4, 4, 96), [[48, [4, 4], 2], [24, [4, 4], 2], [3, [4, 4], 2]], (32, 32, 3)),
        ((3, 3, 8), [[4, 5, 2], [3, 3, 2]], (12, 12, 3)),
        ((2, 5, 4), [[4, 3, [1, 2]], [1, [2, 1], [3, 2]]], (6, 20, 1)),
    ],
)
@pytest.mark.parametrize("norm", [True, False])
def test_cnn_transpose_draws_the_requested_image(start, rows, expected, norm):
    config = CNNTransposeHeadConfig(
        input_dims=(7,),
        initial_image_dims=start,
        cnn_transpose_filter_specifiers=rows,
        cnn_transpose_use_layernorm=norm,
        cnn_transpose_kernel_initializer="zeros_",
        cnn_transpose_bias_initializer="zeros_",
    )
    head = config.build()
    image_out = head(torch.randn(2, 7))
    assert config.output_dims == expected
    assert tuple(image_out.shape) == (2, *expected)
    assert (image_out == 0.5).all()
    assert sum(isinstance(m, nn.LayerNorm) for m in head.modules()) == (len(rows) - 1) * norm


# --- discrete and composed -----------------------------------------------------------------------------------


def test_one_hot_vectors():
    settings = {"fcnet_hiddens": []}
    for space, obs, expected in (
        (spaces.Discrete(3, start=-1), [-1, 1], [[1, 0, 0], [0, 0, 1]]),
        (spaces.MultiDiscrete([2, 3], start=[1, 0]), [[1, 2]], [[1, 0, 0, 0, 1]]),
        (spaces.MultiDiscrete([[2], [2]]), [[[1], [0]]], [[0, 1, 1, 0]]),
        (spaces.MultiBinary(3), [[1, 0, 1]], [[1, 0, 1]]),
        (spaces.MultiBinary((2, 2)), [[[1, 0], [0, 1]]], [[1, 0, 0, 1]]),
    ):
        config = OneHotEncoderConfig.from_space(space, settings)
        out = config.build()({"obs": torch.tensor(obs)})["encoder_out"]
        assert out.tolist() == expected
        assert config.output_dims == (len(expected[0]),)
    with pytest.raises(ConfigError):
        OneHotEncoderConfig.from_space(image(2), {})


NESTED = spaces.Dict(
    {
        "cam.front": image(12, 12, 3),
        "keys": spaces.Box(-1, 1, (3,)),
        "t": spaces.Tuple((spaces.Discrete(3, start=1), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(4))),
    }
)


def test_multi_stream_over_nested_spaces():
    config = config_for(NESTED, {"fcnet_hiddens": [8], "fusionnet_hiddens": [6, 5], "fusionnet_activation": "relu"})
    net = config.build()
    obs = batch_of(NESTED, 4)
    out = net({"obs": {**obs, "action_mask": torch.ones(4, 2)}})["encoder_out"]
    assert tuple(out.shape) == (4, *config.output_dims) == (4, 5)
    assert out.min() >= 0
    out.sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    changed = {**obs, "keys": obs["keys"] + 1}
    assert not torch.equal(net({"obs": changed})["encoder_out"], out)
    assert config_for(NESTED, {"fusionnet_hiddens": []}).output_dims == (256 * 2 + 256 * 3,)


LEAVES = st.one_of(
    st.builds(lambda n, s: spaces.Discrete(n, start=s), st.integers(1, 4), st.integers(-2, 2)),
    st.builds(lambda n: spaces.Box(-1.0, 1.0, (n,)), st.integers(1, 4)),
    st.builds(lambda h, w: image(h, w, 3), st.integers(1, 14), st.integers(1, 14)),
    st.builds(spaces.MultiDiscrete, st.lists(st.integers(1, 3), min_size=1, max_size=3)),
    st.builds(spaces.MultiBinary, st.integers(1, 3)),
)
SPACES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
        st.dictionaries(st.sampled_from(["keys", "train", "a.b", "%"]), inner, min_size=1).map(spaces.Dict),
    ),
    max_leaves=4,
)


@settings(max_examples=25, deadline=None)
@given(space=SPACES)
def test_any_observation_space(space):
    config = config_for(space, {"fcnet_hiddens": [4], "fusionnet_hiddens": [5]})
    net, twin = config.build(), config.build()
    obs = batch_of(space, 3)
    out = net({"obs": obs})["encoder_out"]
    assert tuple(out.shape) == (3, *config.output_dims)
    twin.load_state_dict(net.state_dict())
    torch.testing.assert_close(twin({"obs": obs})["encoder_out"], out)
    out.sum().backward()


def test_multi_stream_refusals():
    with pytest.raises(ValueError, match="no parts"):
        MultiStreamEncoderConfig(base_encoder_configs={}).build()
    recurrent = RecurrentEncoderConfig(input_dims=(3,))
    with pytest.raises(ConfigError, match="recurrent"):
        MultiStreamEncoderConfig(base_encoder_configs={"a": recurrent}).build()
    with pytest.raises(ConfigError):
        MultiStreamEncoderConfig.from_space(spaces.Discrete(2), {}, None)


# --- recurrent -----------------------------------------------------------------------------------------------


def recurrent_config(kind, layers, tokenizer):
    return RecurrentEncoderConfig(
        input_dims=(3,),
        recurrent_layer_type=kind,
        hidden_dim=5,
        num_layers=layers,
        tokenizer_config=MLPEncoderConfig(input_dims=(3,), hidden_layer_dims=(4,)) if tokenizer else None,
    )


@pytest.mark.parametrize(("kind", "layers", "tokenizer"), list(product(["lstm", "gru"], [1, 2], [True, False])))
def test_recurrent_sequence_equals_step_by_step(kind, layers, tokenizer):
    net = recurrent_config(kind, layers, tokenizer).build()
    start = net.get_initial_state()
    assert set(start) == ({"h", "c"} if kind == "lstm" else {"h"})
    assert all(s.shape == (layers, 5) for s in start.values())
    state = {k: torch.randn(2, *s.shape) for k, s in start.items()}
    obs = torch.randn(2, 6, 3)
    whole = net({"obs": obs, "state_in": state})
    assert whole["encoder_out"].shape == (2, 6, 5)
    steps = []
    for t in range(6):
        one = net({"obs": obs[:, t : t + 1], "state_in": state})
        state = one["state_out"]
        steps.append(one["encoder_out"])
    torch.testing.assert_close(torch.cat(steps, 1), whole["encoder_out"])
    for key, value in state.items():
        assert value.shape == (2, layers, 5)
        torch.testing.assert_close(value, whole["state_out"][key])
    zeros = {k: torch.zeros(2, *s.shape) for k, s in start.items()}
    torch.testing.assert_close(net({"obs": obs})["encoder_out"], net({"obs": obs, "state_in": zeros})["encoder_out"])


def test_recurrent_time_major_keeps_batch_first_states():
    batch_major = recurrent_config("lstm", 1, False)
    time_major = RecurrentEncoderConfig(input_dims=(3,), hidden_dim=5, batch_major=False)
    a, b = batch_major.build(), time_major.build()
    b.load_state_dict(a.state_dict())
    obs = torch.randn(2, 6, 3)
    out_a, out_b = a({"obs": obs}), b({"obs": obs.transpose(0, 1)})
    torch.testing.assert_close(out_a["encoder_out"], out_b["encoder_out"].transpose(0, 1))
    torch.testing.assert_close(out_a["state_out"], out_b["state_out"])


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_recurrent_over_a_dict_from_settings(kind):
    settings = {
        "fcnet_hiddens": [8],
        "fusionnet_hiddens": [8],
        "use_gru": kind == "gru",
        "lstm_cell_size": 6,
        "lstm_num_layers": 2,
        "lstm_kernel_initializer": "orthogonal_",
        "lstm_bias_initializer": "constant_",
        "lstm_bias_initializer_kwargs": {"val": 0.5},
    }
    config = RecurrentEncoderConfig.from_tokenizer(config_for(NESTED, settings), settings)
    net = config.build()
    assert all((p == 0.5).all() for n, p in net.rnn.named_parameters() if n.startswith("bias"))
    flat = batch_of(NESTED, 6)

    def fold(struct):
        if isinstance(struct, dict):
            return {k: fold(v) for k, v in struct.items()}
        if isinstance(struct, tuple):
            return tuple(fold(v) for v in struct)
        return struct.reshape(2, 3, *struct.shape[1:])

    out = net({"obs": fold(flat)})
    assert out["encoder_out"].shape == (2, 3, 6)
    tokens = net.tokenizer({"obs": flat})["encoder_out"].reshape(2, 3, -1)
    torch.testing.assert_close(net.rnn(tokens)[0], out["encoder_out"])
    assert config.recurrent


def test_recurrent_refusals_come_from_build():
    for wrong in (
        {"recurrent_layer_type": "rnn"},
        {"num_layers": 0},
        {"input_dims": (3, 3)},
        {"input_dims": None},
        {"tokenizer_config": RecurrentEncoderConfig(input_dims=(3,))},
    ):
        with pytest.raises(ConfigError):
            RecurrentEncoderConfig(**{"input_dims": (3,), **wrong}).build()


@pytest.mark.parametrize(("kind", "shared"), list(product(["lstm", "gru"], [True, False])))
def test_stateful_actor_critic(kind, shared):
    config = ActorCriticEncoderConfig(base_encoder_config=recurrent_config(kind, 1, True), shared=shared)
    net = config.build()
    start = net.get_initial_state()
    assert set(start) == (({"h", "c"} if kind == "lstm" else {"h"}) if shared else {"actor", "critic"})

    def batched(state):
        return {k: batched(v) if isinstance(v, dict) else v.expand(2, *v.shape) for k, v in state.items()}

    batch = {"obs": torch.randn(2, 4, 3), "state_in": batched(start)}
    both = net(batch)
    assert both["encoder_out"]["critic"].shape == (2, 4, 5)
    actor = net(batch, only="actor")
    torch.testing.assert_close(actor["encoder_out"]["actor"], both["encoder_out"]["actor"])
    assert set(actor["encoder_out"]) == {"actor"}
    assert set(actor["state_out"]) == set(both["state_out"]) == set(start)
    if not shared:
        torch.testing.assert_close(actor["state_out"]["critic"], batch["state_in"]["critic"])
        separate = net.critic_encoder({**batch, "state_in": batch["state_in"]["critic"]})
        torch.testing.assert_close(both["encoder_out"]["critic"], separate["encoder_out"])
        small = ActorCriticEncoderConfig(
            base_encoder_config=config.base_encoder_config, shared=False, inference_only=True
        ).build()
        assert set(small.get_initial_state()) == {"actor"}
