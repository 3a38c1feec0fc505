"""The direct kernel call against ``optimizer.step()``, and when it must not be used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import actor_critic
from rlkit_core.learner.optim.flat_buffers import FlatParameters
from rlkit_core.learner.optim.fused_adam import fused_step


def flat_pair(make):
    torch.manual_seed(0)
    values = torch.randn(4), torch.randn(2, 3)
    made = []
    for _ in range(2):
        parameters = [torch.nn.Parameter(v.clone()) for v in values]
        buffer = FlatParameters(parameters)
        made.append((buffer, make([buffer.parameter])))
    return made


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_equals_optimizer_step_bit_for_bit_and_can_be_mixed_with_it(optimizer, weight_decay):
    (a, plain), (b, direct) = flat_pair(
        lambda params: optimizer(params, lr=0.01, weight_decay=weight_decay, fused=True)
    )
    step = fused_step(direct, [b])
    assert step != direct.step
    for k in range(20):
        gradient = torch.randn_like(a.gradient)
        for buffer in (a, b):
            buffer.gradient.copy_(gradient)
        for registered in (plain, direct):
            registered.param_groups[0]["lr"] = 0.01 / (1 + k)
        plain.step()
        direct.step() if k % 5 == 4 else step()
        assert torch.equal(a.parameter, b.parameter)
    assert torch.equal(plain.state[a.parameter]["exp_avg_sq"], direct.state[b.parameter]["exp_avg_sq"])
    assert float(direct.state[b.parameter]["step"]) == 20


def test_parameters_and_gradients_are_views():
    (buffer, _), _ = flat_pair(lambda params: torch.optim.SGD(params, lr=1.0))
    sum((p * p).sum() for p in buffer.parameters).backward()
    assert torch.equal(buffer.gradient, 2 * buffer.parameter)
    buffer.parameter.data.fill_(7.0)
    assert all((p == 7.0).all() for p in buffer.parameters)
    buffer.parameters[0].grad = None
    buffer.zero_grad()
    assert buffer.parameters[0].grad is buffer.gradients[0]
    assert not buffer.gradient.any()


@pytest.mark.parametrize(
    "make",
    [
        lambda params: torch.optim.SGD(params, lr=0.1),
        lambda params: torch.optim.Adam(params, fused=False),
        lambda params: torch.optim.Adam(params, fused=True, amsgrad=True),
        type("Mine", (torch.optim.Adam,), {}),
    ],
)
def test_other_optimizers_step_themselves(make):
    (buffer, optimizer), _ = flat_pair(make)
    assert fused_step(optimizer, [buffer]) == optimizer.step
    assert fused_step(optimizer, [None]) == optimizer.step


def test_step_hooks_are_heard():
    (buffer, adam), _ = flat_pair(lambda params: torch.optim.Adam(params, fused=True))
    heard = []
    step = fused_step(adam, [buffer])
    adam.register_step_post_hook(lambda *args: heard.append(1))
    step()
    assert heard == [1]


def test_training_does_not_load_the_compiler():
    code = (
        "import sys\n"
        f"sys.path.append({str(Path(actor_critic.__file__).parent)!r})\n"
        "from actor_critic import ACConfig\n"
        "c = ACConfig().environment('CartPole-v1').training(train_batch_size=64, minibatch_size=32, num_epochs=1)\n"
        "c.build_algo().train()\n"
        "import torch\n"
        "print('torch._dynamo' in sys.modules)\n"
        "torch.optim.Adam([torch.nn.Parameter(torch.ones(1))]).step()\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
