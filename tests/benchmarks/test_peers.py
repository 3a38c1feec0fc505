"""The loops that are written by hand do what they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def load(path: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    file = BENCHMARKS / path
    monkeypatch.syspath_prepend(str(file.parent))
    spec = importlib.util.spec_from_file_location(f"bench_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _same_threads_after():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_bare_ppo_learns(monkeypatch):
    bare = load("peers/bare_ppo.py", monkeypatch)
    span = sys.modules["_span"]
    steps, mean_return = bare.BarePPO(span.Work(steps=10_240, threads=1, seed=1)).train()
    assert steps == 10_240
    assert mean_return > 35  # random play stays near 22


def test_bare_learner_update_changes_both_networks(monkeypatch):
    bare = load("peers/bare_learner_update.py", monkeypatch)
    torch.manual_seed(0)
    nets = bare.build_net(2), bare.build_net(1)
    before = [[p.clone() for p in net.parameters()] for net in nets]
    optimizer = torch.optim.Adam([p for net in nets for p in net.parameters()], lr=3e-4)
    bare.update(*nets, optimizer, bare.build_batch())
    for net, old in zip(nets, before, strict=True):
        assert not any(torch.equal(p, q) for p, q in zip(net.parameters(), old, strict=True))
    assert bare.run(seed=1, threads=1, updates=1) > 0


def test_the_image_peer_keeps_bytes_and_trains_every_parameter(monkeypatch):
    bare = load("peers/bare_ppo_image.py", monkeypatch)
    span = sys.modules["_span"]
    loop = bare.BareImagePPO(span.Work(steps=1024, threads=1, seed=1))
    frames = torch.from_numpy(loop.envs.reset(seed=1)[0])
    assert frames.shape == (8, 84, 84, 4)
    assert loop.obs.dtype is frames.dtype is torch.uint8
    before = [p.clone() for p in loop.agent.parameters()]
    assert loop.train()[0] == 1024
    assert not any(torch.equal(p, q) for p, q in zip(loop.agent.parameters(), before, strict=True))


def test_the_loop_written_for_speed_learns(monkeypatch):
    hand = load("peers/hand_ppo.py", monkeypatch)
    span = sys.modules["_span"]
    steps, mean_return = hand.HandPPO(span.Work(steps=10_240, threads=1, seed=1)).train()
    assert steps == 10_240
    assert mean_return > 35  # random play stays near 22


def test_the_recorded_step_is_the_eager_one(monkeypatch):
    hand = load("peers/hand_ppo.py", monkeypatch)
    span = sys.modules["_span"]
    loop = hand.HandPPO(span.Work(steps=1_024, threads=1, seed=1))
    loop.train()
    for minibatch in loop.minibatches:  # on weights that were not those of the recording
        with torch.no_grad():
            replayed = loop.step(*minibatch).clone()
            found = loop.gradients.clone()
        eager = loop.loss(*minibatch)
        torch.testing.assert_close(replayed, eager)
        torch.testing.assert_close(found, loop.gradients)
        assert 0 < float(found.norm()) <= span.MAX_GRAD_NORM * 1.001


def test_the_scan_of_advantages_is_the_loop_over_time(monkeypatch):
    hand = load("peers/hand_ppo.py", monkeypatch)
    span = sys.modules["_span"]
    loop = hand.HandPPO(span.Work(steps=1_024, threads=1, seed=1))
    loop.begin()
    with torch.no_grad():
        loop.sample()
        *_, advantages, targets = loop.columns([])
        values = hand.forward(loop.value, loop.obs.view(-1, 4)).view(span.NUM_STEPS + 1, span.NUM_ENVS)
    assert 0 < float(loop.going_on.mean()) < 1
    expected, last = torch.zeros_like(loop.rewards), torch.zeros(span.NUM_ENVS)
    for t in reversed(range(span.NUM_STEPS)):
        delta = loop.rewards[t] + span.GAMMA * loop.going_on[t] * values[t + 1] - values[t]
        expected[t] = last = delta + span.GAMMA * span.LAMBDA * loop.going_on[t] * last
    torch.testing.assert_close(advantages.view_as(expected), expected)
    torch.testing.assert_close(targets.view_as(expected), expected + values[:-1])


def test_the_bare_loop_on_arrays_leaves_out_steps_that_begin_an_episode(monkeypatch):
    bare = load("peers/bare_ppo_vector.py", monkeypatch)
    span = sys.modules["_span"]
    loop = bare.BareVectorPPO(span.Work(steps=1, threads=1, seed=1))
    steps, _ = loop.train()
    rows = loop.shuffled_rows()
    assert len(rows) == steps < loop.rollout
    assert not loop.dones.view(-1)[rows].any()
    assert len(loop.returns) == 100


def test_worker_arguments_have_the_published_defaults(monkeypatch):
    span = load("peers/_span.py", monkeypatch)
    work = span.parse_work([])
    assert (work.steps, work.threads, work.iterations) == (102_400, 1, 100)
    assert span.parse_order(["a", "b"], ["b", "--steps", "3"])[0] == "b"
