"""A handful of rows through numpy gives what torch gives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rlkit_core.learner.optim.flat_buffers import FlatParameters
from rlkit_core.models import MLPHeadConfig, run_plan
from rlkit_dqn.small_plan import SmallPlan


def head(**settings):
    defaults = {"input_dims": (4,), "hidden_layer_dims": (8, 8), "output_layer_dim": 3}
    return MLPHeadConfig(**{**defaults, **settings}).build()


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear", None])
@pytest.mark.parametrize("rows", [1, 5])
def test_equals_the_layers(activation, rows):
    net = head(hidden_layer_activation=activation)
    plan, x = SmallPlan.of(net.plan), torch.randn(rows, 4)
    given = x.clone()
    torch.testing.assert_close(torch.from_numpy(plan(x.numpy())), run_plan(net.plan, x).detach())
    assert torch.equal(x, given)


def test_follows_the_weights_wherever_they_go():
    net = head()
    plan, x = SmallPlan.of(net.plan), torch.randn(2, 4)
    plan(x.numpy())
    with torch.no_grad():
        net.plan[0][0].weight.mul_(2.0)
    torch.testing.assert_close(torch.from_numpy(plan(x.numpy())), run_plan(net.plan, x).detach())
    flat = FlatParameters(list(net.parameters()))
    with torch.no_grad():
        flat.parameter.add_(0.5)
    torch.testing.assert_close(torch.from_numpy(plan(x.numpy())), run_plan(net.plan, x).detach())


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
    assert SmallPlan.of(head(**settings).plan) is None


def test_leaves_layers_of_other_dtypes_and_kinds_to_torch():
    assert SmallPlan.of(head().double().plan) is None
    net = head()
    nn.utils.parametrizations.weight_norm(net.net.layers[0])
    assert SmallPlan.of(net.plan) is None
