"""Captured updates against eager ones: the same weights, metrics and errors, whatever the module and the schedule."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rlkit_capture import engine
from rlkit_capture.check_times import CheckTimes
from rlkit_capture.engine import CaptureEngine
from rlkit_capture.recording import NotTraceableError
from rlkit_core.errors import ConfigError, NonFiniteError
from rlkit_ppo import PPOTorchLearner

sys.path.insert(0, str(Path(__file__).parent))
from capture_learners import SPACES, Dropout, ReadsValues, Separate, assert_equal_weights, build, rows, update


@pytest.mark.parametrize("action_space", SPACES)
@pytest.mark.parametrize(
    "training",
    [
        {},
        {"entropy_coeff": [[0, 0.5], [100, 0.0]], "lr": [[0, 0.01], [100, 0.001]]},
        {"use_kl_loss": True, "kl_coeff": 0.7, "kl_target": 1e-4},
        {"value_clip": 0.1, "vf_clip_param": 0.5, "normalize_advantages": "minibatch"},
        {"grad_clip": 0.1, "grad_clip_by": "value"},
        {"grad_clip": 0.1, "grad_clip_by": "norm"},
        {"grad_clip": None},
    ],
    ids=lambda training: "-".join(training) or "defaults",
)
def test_captured_equals_eager_bit_for_bit(action_space, training):
    eager = build(None, SPACES[action_space], **training)
    captured = build("capture", SPACES[action_space], **training)
    for k, steps in enumerate((0, 30, 60)):
        batch = rows(eager, seed=k)
        assert str(update(eager, batch, steps)) == str(update(captured, batch, steps))
    assert_equal_weights(eager, captured)
    (recorded,) = captured.engine.steps.values()
    assert recorded is not None


def test_wide_layers_are_replayed_as_they_were_run(at_once):
    """Sums of many products depend on their order to the last bit."""
    wide = {"model_config": {"fcnet_hiddens": [400, 300]}}
    eager, captured = build(None, SPACES["discrete"], **wide), build("auto", SPACES["discrete"], **wide)
    for k in range(3):
        batch = rows(eager, seed=k)
        assert str(update(eager, batch)) == str(update(captured, batch))
    assert_equal_weights(eager, captured)
    assert len(captured.engine.steps) == 1


def test_every_shape_has_a_recording_of_its_own():
    eager, captured = build(None, SPACES["discrete"]), build("capture", SPACES["discrete"])
    for count in (32, 48, 32):
        batch = rows(eager, count)
        for learner in (eager, captured):
            learner.update(batch)
    assert_equal_weights(eager, captured)
    assert len(captured.engine.steps) == 2


def test_a_recording_ends_with_the_flat_buffers_it_was_made_for():
    eager, captured = build(None, SPACES["discrete"]), build("capture", SPACES["discrete"])
    batch = rows(eager)
    for learner in (eager, captured):
        update(learner, batch)
    (before,) = captured.engine.steps.values()
    for learner in (eager, captured):
        for registered in learner.optimizers:
            registered.unflatten()
        for _ in range(2):
            update(learner, batch)
    assert_equal_weights(eager, captured)
    (after,) = captured.engine.steps.values()
    assert after is not before


def test_other_settings_are_recorded_anew():
    eager, captured = build(None, SPACES["discrete"]), build("capture", SPACES["discrete"])
    batch = rows(eager)
    for learner in (eager, captured):
        update(learner, batch)
        learner.config = learner.config.copy(copy_frozen=False).training(grad_clip=1e-3)
        update(learner, batch)
    assert_equal_weights(eager, captured)


def test_random_numbers_and_running_statistics_are_those_of_an_eager_run():
    eager = build(None, SPACES["discrete"], module_class=Dropout)
    captured = build("capture", SPACES["discrete"], module_class=Dropout)
    batch = rows(eager)
    captured.module["default_policy"].set_state(eager.module["default_policy"].get_state())
    for _ in range(2):
        assert str(update(eager, batch)) == str(update(captured, batch))
    assert_equal_weights(eager, captured)


@pytest.fixture
def at_once(monkeypatch):
    """``"auto"`` records the first step of every shape."""
    monkeypatch.setattr(engine, "EAGER_STEPS", 0)


def test_what_cannot_be_captured_is_refused_or_run_eagerly(caplog, at_once):
    strict = build("capture", SPACES["discrete"], learner_class=ReadsValues)
    batch = rows(strict)
    with pytest.raises(NotTraceableError, match=r"compile='capture'.*reads a tensor's value"):
        update(strict, batch)
    eager = build(None, SPACES["discrete"], learner_class=ReadsValues)
    auto = build("auto", SPACES["discrete"], learner_class=ReadsValues)
    batch = rows(eager)
    with caplog.at_level("WARNING", logger="rlkit_capture"):
        for _ in range(2):
            update(eager, batch)
            update(auto, batch)
    assert_equal_weights(eager, auto)
    assert len([r for r in caplog.records if "eagerly" in r.message]) == 1


class Counts(PPOTorchLearner):
    calls = 0

    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        self.calls += 1
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        return loss * float(torch.rand(()) * 0 + 1) if self.calls < 0 else loss


def test_the_loss_is_called_once_and_then_replayed():
    learner = build("capture", SPACES["discrete"], learner_class=Counts)
    batch = rows(learner)
    learner.calls = 0
    update(learner, batch)
    assert learner.calls == 1 + 2  # the first and the sixth of seven replays are compared with the eager step


def test_replays_are_compared_ever_more_seldom():
    times = CheckTimes()
    looked_at = [number for number in range(1, 3000) if times.now(number // 50)]
    assert looked_at == [1, 6, 30, 50, 151, 755]  # 50 is the first of the second update


class OwnUpdate(PPOTorchLearner):
    def _update(self, batch):
        return super()._update(batch)


def test_a_learner_with_its_own_update_is_not_bypassed():
    with pytest.raises(ConfigError, match="overrides _update"):
        build("capture", SPACES["discrete"], learner_class=OwnUpdate)
    assert not isinstance(build("auto", SPACES["discrete"], learner_class=OwnUpdate).engine, CaptureEngine)


@pytest.mark.parametrize("what", ["raise", "skip", "zero"])
def test_non_finite_minibatches_are_treated_as_in_an_eager_run(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learners = [build(compile, SPACES["discrete"]) for compile in (None, "capture")]
    for learner in learners:
        learner.config = learner.config.copy(copy_frozen=False).learners(on_nonfinite=what)
    good = rows(learners[0])
    bad = {"default_policy": {**good["default_policy"], "advantages": torch.full((64,), float("nan"))}}
    for learner in learners:
        update(learner, good)
    if what == "raise":
        for learner in learners:
            with pytest.raises(NonFiniteError):
                update(learner, bad)
    else:
        for learner in learners:
            update(learner, bad)
    assert_equal_weights(*learners)
    assert np.isfinite(learners[1].module["default_policy"].get_state()["pi.net.layers.0.weight"]).all()


def test_several_optimizers_and_gradients_outside_of_flat_buffers():
    eager = build(None, SPACES["discrete"], learner_class=Separate)
    captured = build("capture", SPACES["discrete"], learner_class=Separate)
    for k in range(2):
        batch = rows(eager, seed=k)
        assert str(update(eager, batch)) == str(update(captured, batch))
    assert_equal_weights(eager, captured)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_inductor_equals_eager_to_float_tolerance():
    eager = build(None, SPACES["discrete"], entropy_coeff=[[0, 0.5], [100, 0.0]])
    compiled = build("inductor", SPACES["discrete"], entropy_coeff=[[0, 0.5], [100, 0.0]])
    for k, steps in enumerate((0, 60)):
        batch = rows(eager, seed=k)
        update(eager, batch, steps)
        update(compiled, batch, steps)
    ours = compiled.module["default_policy"].get_state()
    for name, value in eager.module["default_policy"].get_state().items():
        np.testing.assert_allclose(ours[name], value, atol=1e-4)
