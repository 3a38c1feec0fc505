"""A handful of rows through numpy gives what torch gives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rlkit_core.learner.optim.flat_buffers import FlatParameters
from rlkit_core.models import ActingPlan, MLPEncoderConfig, MLPHeadConfig, SmallPlan


def networks(**settings):
    defaults = {"input_dims": (4,), "hidden_layer_dims": (8, 8)}
    encoder = MLPEncoderConfig(**{**defaults, **settings}).build()
    head = MLPHeadConfig(input_dims=encoder.config.output_dims, hidden_layer_dims=(), output_layer_dim=3).build()
    return nn.ModuleList([encoder, head])


def small(net):
    return SmallPlan.of(ActingPlan.of(*net))


def expected(net, x):
    encoder, head = net
    return head(encoder({"obs": x})["encoder_out"]).detach()


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear", None])
@pytest.mark.parametrize("rows", [1, 5])
def test_equals_the_layers(activation, rows):
    net, x = networks(hidden_layer_activation=activation), torch.randn(rows, 4)
    plan, given = small(net), x.clone()
    torch.testing.assert_close(torch.from_numpy(plan(x.numpy())), expected(net, x))
    torch.testing.assert_close(torch.from_numpy(plan(x.double().numpy())), expected(net, x))
    assert torch.equal(x, given)


@pytest.mark.parametrize("rows", [1, 2])
def test_follows_the_weights_wherever_they_go(rows):
    net = networks()
    plan, x = small(net), torch.randn(rows, 4)
    plan(x.numpy())
    with torch.no_grad():
        net[0].plan[0][0].weight.mul_(2.0)
    torch.testing.assert_close(torch.from_numpy(plan(x.numpy())), expected(net, x))
    flat = FlatParameters(list(net.parameters()))
    with torch.no_grad():
        flat.parameter.add_(0.5)
    torch.testing.assert_close(torch.from_numpy(plan(x.numpy())), expected(net, x))


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_layer_activation": "gelu"},
        {"hidden_layer_activation": torch.relu_},
        {"hidden_layer_use_layernorm": True},
        {"hidden_layer_dims": (300, 300)},
        {"hidden_layer_use_bias": False},
    ],
)
def test_leaves_other_layers_to_torch(settings):
    assert small(networks(**settings)) is None


def test_leaves_layers_of_other_dtypes_and_kinds_to_torch():
    assert small(networks().double()) is None
    net = networks()
    nn.utils.parametrizations.weight_norm(net[0].net.layers[0])
    assert small(net) is None
