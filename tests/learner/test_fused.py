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


def flat_pair(make, *, whole=False):
    """Buffers with optimizers over their parameters; the first one over the buffer itself if ``whole``."""
    torch.manual_seed(0)
    values = torch.randn(4), torch.randn(2, 3)
    made = []
    for _ in range(2):
        parameters = [torch.nn.Parameter(v.clone()) for v in values]
        buffer = FlatParameters(parameters)
        made.append((buffer, make([buffer.parameter] if whole and not made else buffer.parameters)))
    return made


def new_gradients(a, b):
    for ours, theirs in zip(a.gradients, b.gradients, strict=True):
        theirs.copy_(ours.normal_())


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_equals_torchs_step_of_one_tensor_bit_for_bit(optimizer, weight_decay):
    (a, plain), (b, direct) = flat_pair(
        lambda params: optimizer(params, lr=0.01, weight_decay=weight_decay, fused=True), whole=True
    )
    heard = []
    step = fused_step(direct, [b])
    assert step != direct.step
    for k in range(20):
        new_gradients(a, b)
        for registered in (plain, direct):
            registered.param_groups[0]["lr"] = 0.01 / (1 + k)
        plain.step()
        step()
        if k == 10:  # hooks are heard, and change nothing
            direct.register_step_post_hook(lambda *args: heard.append(1))
        assert torch.equal(a.parameter, b.parameter)
    for parameter, square in zip(b.parameters, b.split(plain.state[a.parameter]["exp_avg_sq"]), strict=True):
        assert torch.equal(direct.state[parameter]["exp_avg_sq"], square)
        assert float(direct.state[parameter]["step"]) == 20
    assert len(heard) == 9


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_can_be_mixed_with_torchs_own_step(optimizer):
    (a, plain), (b, direct) = flat_pair(lambda params: optimizer(params, lr=0.01, weight_decay=0.1, fused=True))
    step = fused_step(direct, [b])
    for k in range(20):
        new_gradients(a, b)
        plain.step()
        direct.step() if k % 5 in (0, 4) else step()
    torch.testing.assert_close(a.parameter, b.parameter, rtol=1e-6, atol=1e-7)
    for ours, theirs in zip(b.parameters, a.parameters, strict=True):
        torch.testing.assert_close(direct.state[ours], plain.state[theirs], rtol=1e-6, atol=1e-8)
        assert float(direct.state[ours]["step"]) == 20


def test_the_state_may_be_replaced_and_emptied():
    (a, plain), (b, direct) = flat_pair(lambda params: torch.optim.Adam(params, lr=0.01, fused=True))
    step = fused_step(direct, [b])
    for k in range(12):
        new_gradients(a, b)
        if k == 4:
            for one in (plain, direct):
                one.load_state_dict(one.state_dict())
        if k == 6:
            for one in (plain, direct):
                one.state.clear()
        if k == 8:
            for one, buffer in ((plain, a), (direct, b)):
                one.state[buffer.parameters[0]]["exp_avg"].zero_()
        if k == 10:  # steps no longer agree: each parameter has its own
            for one, buffer in ((plain, a), (direct, b)):
                del one.state[buffer.parameters[0]]
        plain.step()
        step()
        torch.testing.assert_close(a.parameter, b.parameter, rtol=1e-6, atol=1e-7)


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
