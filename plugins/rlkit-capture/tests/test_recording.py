"""Recorded computations against the eager ones they were recorded from, to the last bit."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rlkit_capture.recording import NotTraceableError, Recording, TorchScriptBuilder, Trace
from rlkit_core.learner.optim.flat_buffers import FlatParameters


class Step:
    """Forward, loss, backward and clipping over current inputs."""

    def __init__(self, net, loss):
        torch.manual_seed(0)
        self.net, self.loss = net, loss
        self.flat = FlatParameters(list(net.parameters()))
        self.coefficient = torch.tensor(0.5)
        self.inputs = self.draw()

    def draw(self):
        return {"x": torch.randn(16, 4), "a": torch.randint(3, (16,)), "w": torch.rand(16)}

    def __call__(self):
        self.flat.zero_grad()
        loss = self.loss(self.net(self.inputs["x"]), self.inputs, self.coefficient)
        loss.backward()
        norm = torch.linalg.vector_norm(self.flat.gradient)
        self.flat.gradient.mul_((0.5 / (norm + 1e-12)).clamp_(max=1.0))
        return [loss.detach(), norm]


def surrogate(out, inputs, coefficient):
    logp = F.log_softmax(out, -1).gather(-1, inputs["a"].unsqueeze(-1)).squeeze(-1)
    ratio = (logp + 1.0).exp()
    advantages = (inputs["w"] - inputs["w"].mean()) / inputs["w"].std()
    entropy = -(logp.exp() * logp).sum()
    return -torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean() - coefficient * entropy


def many_ops(out, inputs, coefficient):
    a, b = out.chunk(2, -1) if out.shape[-1] % 2 == 0 else (out, out)
    parts = torch.cat([a, b], -1).split([1, a.shape[-1] + b.shape[-1] - 1], -1)
    mask = inputs["w"] > 0.5
    picked = torch.where(mask.unsqueeze(-1), parts[0], -parts[0].abs())
    one_hot = torch.zeros(16, 3).scatter_(-1, inputs["a"].unsqueeze(-1), 1.0)
    var = out.var(0, correction=0).sum()
    return picked.mean() + (one_hot * out[..., :3]).sum(-1).square().mean() + coefficient * var + F.mse_loss(a, b)


@pytest.mark.parametrize("loss", [surrogate, many_ops])
@pytest.mark.parametrize(
    "net",
    [
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)),
        lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 4), nn.ELU(), nn.Linear(4, 3)),
        lambda: nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.GELU(), nn.Linear(8, 3, bias=False)),
    ],
)
def test_replays_equal_eager_steps(net, loss):
    step = Step(net(), loss)
    recording = Recording(Trace(step), step.inputs)
    for k in range(3):
        step.inputs = step.draw()
        step.coefficient.fill_(0.1 * k)  # a value in a tensor is followed
        step.flat.parameter.data.add_(0.01)
        expected = [x.clone() for x in step()]
        gradient = step.flat.gradient.clone()
        step.flat.gradient.fill_(99.0)
        replayed = recording.replay(list(step.inputs.values()))
        assert all(torch.equal(a, b) for a, b in zip(expected, replayed, strict=True))
        assert torch.equal(step.flat.gradient, gradient)


def test_an_output_that_is_an_input_and_no_outputs_at_all():
    x = torch.ones(2)
    target = torch.zeros(2)
    recording = Recording(Trace(lambda: [target.add_(x), x]), {"x": x})
    out = recording.replay([torch.full((2,), 5.0)])
    assert [o.tolist() for o in out] == [[6.0, 6.0], [5.0, 5.0]]
    assert target.tolist() == [6.0, 6.0]
    silent = Recording(Trace(lambda: (target.add_(x), [])[1]), {"x": x})
    assert silent.replay([x]) == []
    assert target.tolist() == [8.0, 8.0]


def test_rows_that_a_replay_gives_are_as_good_as_any_tensor():
    x, w = torch.ones(2), nn.Parameter(torch.full((2,), 3.0))
    recording = Recording(Trace(lambda: [(x * w.detach()).sum(), x * w.detach()]), {"x": x})
    _, rows = recording.replay([torch.full((2,), 5.0)])
    (rows * w).sum().backward()
    assert w.grad.tolist() == rows.tolist() == [15.0, 15.0]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: [x * x.sum().item()], "reads a tensor's value"),
        (lambda x: [x if bool(x.sum() > 0) else -x], "reads a tensor's value"),
        (lambda x: [x[x > 0].sum()], "reads a tensor's value"),
        (lambda x: [x.bernoulli(generator=torch.Generator())], "generator"),
        (lambda x: [x.to_sparse().to_dense()], "layout torch.sparse|reads"),
    ],
)
def test_what_cannot_be_recorded_says_why(function, words):
    x = torch.ones(3)
    with pytest.raises(NotTraceableError, match=words):
        Recording(Trace(lambda: function(x)), {"x": x})


def test_recording_is_quick_and_does_not_load_the_compiler():
    code = (
        "import sys, torch\n"
        "from rlkit_capture.recording import Recording, Trace\n"
        "x = torch.ones(3)\n"
        "print(Recording(Trace(lambda: [x + 1]), {'x': x}).replay([x])[0].tolist(), 'torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[2.0, 2.0, 2.0] False"


def test_what_never_changes_is_left_out_and_gradients_are_written_in_place():
    step = Step(nn.Linear(4, 3), surrogate)
    recording = Recording(Trace(step), step.inputs)
    whole = Recording(Trace(step), step.inputs, Everything)
    assert recording.num_operations < whole.num_operations - 8
    for _ in range(3):
        inputs = step.draw()
        ours, gradient = recording.replay(list(inputs.values())), step.flat.gradient.clone()
        theirs = whole.replay(list(inputs.values()))
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        assert torch.equal(gradient, step.flat.gradient)


class Everything(TorchScriptBuilder):
    simplifies = False


def test_sums_onto_something_else_than_zeros_stay_sums():
    total, w = torch.zeros(3, 3), torch.randn(3, 3)

    def function(x):
        total.zero_()
        total.add_(x.mm(w))
        seen = total.sum()
        total.add_(w.mm(x))
        return [seen, total.clone()]

    x = torch.randn(3, 3)
    recording = Recording(Trace(lambda: function(x)), {"x": x})
    y = torch.randn(3, 3)
    replayed = recording.replay([y])
    assert all(torch.equal(a, b) for a, b in zip(replayed, function(y), strict=True))


def test_a_product_that_is_read_elsewhere_is_kept():
    total, w = torch.zeros(3, 3), torch.randn(3, 3)

    def function(x):
        total.zero_()
        product = x.mm(w)
        total.add_(product)
        total.mul_(2.0)
        return [product + 1.0, total.clone()]

    x = torch.randn(3, 3)
    recording = Recording(Trace(lambda: function(x)), {"x": x})
    y = torch.randn(3, 3)
    replayed = recording.replay([y])
    assert all(torch.equal(a, b) for a, b in zip(replayed, function(y), strict=True))


def test_random_numbers_are_not_taken_for_constants():
    x = torch.ones(3)
    recording = Recording(Trace(lambda: [x + torch.rand(3) + torch.zeros(3).uniform_()]), {"x": x})
    seen = {tuple(recording.replay([x])[0].tolist()) for _ in range(3)}
    assert len(seen) == 3
