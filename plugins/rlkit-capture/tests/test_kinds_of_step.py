"""Steps of several kinds, and losses that change in a way that a recording does not show."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from rlkit_capture import engine
from rlkit_capture.recording import NotTraceableError
from rlkit_core.errors import ConfigError
from rlkit_ppo import PPOTorchLearner
from rlkit_processes.learners.averaging import GradientAveraging
from rlkit_processes.learners.gloo import Collective, Rendezvous

sys.path.insert(0, str(Path(__file__).parent))
from capture_learners import SPACES, assert_equal_weights, build, rows, update
from test_cuda_step import CudaStep, PlayedGraph

NOW = {"update": 0}


class Clocked(PPOTorchLearner):
    """Knows which update it is, as Python does."""

    def before_gradient_based_update(self, *, timesteps):
        NOW["update"] = self.weights_seq_no


class Alternates(Clocked):
    """A loss that is nothing in every second update."""

    def compute_loss_for_module(self, **kwargs):
        loss = super().compute_loss_for_module(**kwargs)
        return loss if NOW["update"] % 2 == 0 else loss * 0.0


class Says(Alternates):
    def step_variant(self, module_id):
        return self.weights_seq_no % 2


class SeldomZero(Clocked):
    """A loss that is nothing once, long after it was recorded."""

    def compute_loss_for_module(self, **kwargs):
        loss = super().compute_loss_for_module(**kwargs)
        return loss * 0.0 if NOW["update"] == 30 else loss


class FrozenGraph(PlayedGraph):
    """A graph that is played by the CPU, in which it is always the update in which it was made."""

    def _capture(self, function):
        self._made = dict(NOW)
        return super()._capture(function)

    def _replay(self):
        now = dict(NOW)
        NOW.update(self._made)
        super()._replay()
        NOW.update(now)


@pytest.fixture(params=["cpu", "graph"])
def on(request, monkeypatch):
    """Makes learners whose steps are recorded at once: on the CPU, or as graphs that the CPU plays."""
    monkeypatch.setattr(engine, "EAGER_STEPS", 0)
    if request.param == "graph":
        monkeypatch.setattr(CudaStep, "recording_class", FrozenGraph)

    def make(compile, learner_class):
        learner = build(compile, SPACES["discrete"], learner_class=learner_class)
        if request.param == "graph" and compile is not None:
            learner.engine.on_gpu = learner.engine.checks.on_gpu = True
        return learner

    return make


def close(a, b):
    for ours, theirs in zip(a.module.parameters(), b.module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compile", ["auto", "capture"])
def test_every_kind_has_a_recording(on, compile):
    eager, recorded = on(None, Says), on(compile, Says)
    for k in range(6):
        batch = rows(eager, 16, seed=k)
        for learner in (eager, recorded):
            learner.update(batch)
    close(eager, recorded)
    assert len(recorded.engine.steps) == 2


def test_a_frozen_branch_is_an_error_under_capture(on):
    eager, recorded = on(None, Alternates), on("capture", Alternates)
    batch = rows(eager, 16)
    for learner in (eager, recorded):
        learner.update(batch)
    before = [p.detach().clone() for p in recorded.module.parameters()]
    random = recorded.rng.get_state()
    with pytest.raises(NotTraceableError, match=r"compile='capture'.*step_variant\(module_id\).*capturable = False"):
        recorded.update(batch)
    assert all(torch.equal(a, b) for a, b in zip(before, recorded.module.parameters(), strict=True))
    assert np.array_equal(random, recorded.rng.get_state())


def test_a_frozen_branch_is_eager_under_auto_and_said_once(on, caplog):
    eager, recorded = on(None, Alternates), on("auto", Alternates)
    for k in range(5):
        batch = rows(eager, 16, seed=k)
        for learner in (eager, recorded):
            learner.update(batch)
    close(eager, recorded)
    (record,) = caplog.records
    assert "so a replay differs from the eager step" in record.getMessage()


def test_a_branch_that_is_taken_late_is_found(on):
    recorded = on("capture", SeldomZero)
    batch = rows(recorded, 16)
    for _ in range(30):
        recorded.update(batch)
    with pytest.raises(NotTraceableError, match="a replay differs"):
        recorded.update(batch)


def test_learners_about_to_take_different_steps_are_an_error():
    pair = [build(None, SPACES["discrete"], learner_class=Says) for _ in range(2)]
    pair[1].weights_seq_no = 1
    meeting, host = Rendezvous("127.0.0.1"), "127.0.0.1"

    def updated(rank):
        store = None if rank else meeting.store
        pair[rank].join(
            GradientAveraging(Collective(rank, 2, host=host, port=meeting.port, own_host=host, store=store))
        )
        with pytest.raises(ConfigError, match=r"step_variant\(\) differs from learner to learner"):
            update(pair[rank], rows(pair[0]))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(updated, range(2)))
    assert_equal_weights(*pair)
