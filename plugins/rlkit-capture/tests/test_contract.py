"""Captured steps keep the contract of all step engines."""

from __future__ import annotations

from rlkit_capture.engine import CaptureEngine
from rlkit_core.testing.step_engine import StepEngineContract


class TestCapture(StepEngineContract):
    rtol = atol = 0.0

    def make_engine(self, learner):
        return CaptureEngine(learner, exact=False)


class TestAuto(StepEngineContract):
    rtol = atol = 0.0

    def make_engine(self, learner):
        return CaptureEngine(learner, exact=True, eager_steps=1)
