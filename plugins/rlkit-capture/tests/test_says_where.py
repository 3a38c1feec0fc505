"""What keeps a step from being replayed is said in one line, with file, line, function and operation."""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from rlkit_capture import engine
from rlkit_capture.outline import Outline, difference
from rlkit_capture.recording import NotTraceableError, Trace
from rlkit_core.algorithm.results import as_number
from rlkit_ppo import PPOTorchLearner

sys.path.insert(0, str(Path(__file__).parent))
from capture_learners import SPACES, Dropout, build, rows, update


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(engine, "EAGER_STEPS", 0)


class WithLoss(PPOTorchLearner):
    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        return self.changed(loss, batch["obs"])


class Reads(WithLoss):
    def changed(self, loss, obs):
        return loss if loss.item() < 1e9 else loss * 0.0  # here: aten::_local_scalar_dense reads a tensor's value


def halved(x):
    return x if x.mean() > 1e9 else x / 2  # here: aten::_local_scalar_dense reads


class ReadsInAFunction(WithLoss):
    def changed(self, loss, obs):
        return halved(loss)


class ReadsInTheCore(WithLoss):
    def changed(self, loss, obs):
        return loss if as_number(loss) < 1e9 else loss * 0.0  # here: aten::_local_scalar_dense reads


class BooleanIndex(WithLoss):
    def changed(self, loss, obs):
        return loss + obs[obs > 0].sum()  # here: aten::index.Tensor reads


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2 if gradient.sum().item() < 1e9 else gradient  # here: aten::_local_scalar_dense reads


class OwnBackward(WithLoss):
    def changed(self, loss, obs):
        return Doubled.apply(loss)


class OwnGenerator(WithLoss):
    def changed(self, loss, obs):
        own = torch.Generator().manual_seed(1)
        return loss + torch.rand((), generator=own)  # here: aten::rand.generator draws from a generator of its own


class Branches(nn.Module):
    def forward(self, x):
        return x if bool(x.sum() < 1e9) else -x  # here: aten::_local_scalar_dense reads


class Number(WithLoss):
    factor = 1.0

    def changed(self, loss, obs):
        self.factor /= 2
        return loss * self.factor  # here: aten::mul.Tensor takes another number than was recorded, so a replay differs


class NumberInATensor(WithLoss):
    factor = 1.0

    def changed(self, loss, obs):
        self.factor /= 2
        return loss * torch.tensor(self.factor)  # here: aten::lift_fresh takes another number


class NewTensor(WithLoss):
    factor = torch.ones(())

    def changed(self, loss, obs):
        return loss * self.factor  # here: aten::mul.Tensor takes another tensor than was recorded

    def after_gradient_based_update(self, *, timesteps):
        super().after_gradient_based_update(timesteps=timesteps)
        self.kept, self.factor = self.factor, self.factor / 2


class Another(WithLoss):
    calls = 0

    def changed(self, loss, obs):
        self.calls += 1
        if self.calls == 1:
            return loss.exp()
        return loss.square()  # here: aten::pow.Tensor_Scalar comes where


class OneMore(WithLoss):
    calls = 0

    def changed(self, loss, obs):
        self.calls += 1
        for _ in range(self.calls):
            loss = loss.neg()  # here: aten::neg comes where
        return loss


class Grows(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = torch.zeros(())

    def forward(self, x):
        self.seen.add_(1.0)  # here: aten::add_.Tensor changes a tensor that is no buffer of a module, so a replay
        return x / self.seen


def module_with(layer):
    class Module(Dropout):
        def setup(self):
            super().setup()
            self.pi = nn.Sequential(layer(), self.pi)

    return Module


def expected(marked):
    """The mark in what is marked: file and line as messages have them, and what comes behind."""
    lines, first = inspect.getsourcelines(marked)
    ((number, line),) = [(first + k, line) for k, line in enumerate(lines) if "# here" in line]
    says = line.partition("# here: ")[2].strip()
    function = next(re.search(r"def (\w+)", one)[1] for one in reversed(lines[: number - first]) if "def " in one)
    return f"test_says_where.py:{number} in {function}: {says}"


CASES = {one: (one, None) for one in (Reads, ReadsInTheCore, BooleanIndex, OwnGenerator)}
CASES |= {one: (one, None) for one in (Number, NumberInATensor, NewTensor, Another, OneMore)}
CASES |= {ReadsInAFunction: (halved, None), OwnBackward: (Doubled, None)}
CASES |= {one: (one, module_with(one)) for one in (Branches, Grows)}


def updates(learner, batch):
    for _ in range(3):
        update(learner, batch)


@pytest.mark.parametrize("compile", ["auto", "capture"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_line_is_named(case, compile, caplog):
    marked, module = CASES[case]
    learner = build(
        compile, SPACES["discrete"], learner_class=None if module else case, module_class=module, minibatch_size=64
    )
    batch = rows(learner)
    if compile == "capture":
        with pytest.raises(NotTraceableError) as raised:
            updates(learner, batch)
        text = str(raised.value)
    else:
        updates(learner, batch)
        text = next(r.getMessage() for r in caplog.records if "runs eagerly" in r.getMessage())
    says = expected(marked)
    assert says in text
    assert "\n" not in text
    head = text[: text.index(says)]
    assert re.fullmatch(rf"learners\(compile='{compile}'\): (this step runs eagerly: )?\S*", head)


BROKEN: list[bool] = []


@torch.library.custom_op("says_where::fragile", mutates_args=())
def fragile(x: torch.Tensor) -> torch.Tensor:
    if BROKEN:
        raise RuntimeError("not once more")
    return x.clone()


def middle(x):
    return torch.ops.says_where.fragile(x * 2) + 1  # here: says_where::fragile cannot be replayed: not once more


def test_an_operation_that_fails_in_a_replay_is_found():
    x = torch.ones(3)
    trace = Trace(lambda: [middle(x).sum()])
    assert trace.fails_at() is None
    BROKEN.append(True)
    try:
        assert expected(middle).startswith(str(trace.fails_at()).rpartition("tests/")[2])
    finally:
        BROKEN.clear()


class Fragile(WithLoss):
    def changed(self, loss, obs):
        middle(obs)
        BROKEN.append(True)
        return loss


def test_a_step_of_which_an_operation_fails_in_a_replay_is_eager_and_names_it(caplog):
    learner = build("auto", SPACES["discrete"], learner_class=Fragile, minibatch_size=64)
    try:
        learner.update(rows(learner), minibatch_size=64)
    finally:
        BROKEN.clear()
    (text,) = [r.getMessage() for r in caplog.records if "runs eagerly" in r.getMessage()]
    assert expected(middle) in text


def squashed(x):
    return torch.tanh(x)  # here: aten::tanh


def test_a_backward_operation_names_the_line_that_it_goes_back_to():
    weight = torch.ones(3, requires_grad=True)
    with Outline() as outline:
        squashed(weight).exp().sum().backward()
    (forward,) = [str(one) for one in outline.operations if one.name == "aten::tanh"]
    (backward,) = [str(one) for one in outline.operations if one.name == "aten::tanh_backward"]
    assert forward.endswith(expected(squashed))
    assert backward == f"the backward pass of {forward}_backward"


def through_python(x):
    with contextlib.ExitStack() as stack:
        stack.callback(as_number, x)


def test_pythons_own_lines_are_passed_over():
    one = torch.ones(())
    with Outline() as outline:
        through_python(one)
    (operation,) = outline.operations
    assert re.search(r"test_says_where\.py:\d+ in through_python: aten::_local_scalar_dense$", str(operation))


def test_equal_steps_have_equal_outlines():
    learner = build(None, SPACES["discrete"], module_class=Dropout)
    outlines = []
    for seed in range(3):
        batch = {"default_policy": dict(rows(learner, 16, seed=seed)["default_policy"])}
        with Outline(batch["default_policy"].values()) as outline:
            learner.clipped_gradients(batch)
        learner.forget_losses()
        outlines.append(outline.operations)
    assert len(outlines[0]) > 100
    assert difference(outlines[1], outlines[2]) is None
