"""A gradient step that was recorded, on the CPU: replayed, checked, logged, applied."""

from __future__ import annotations

import math

from torch import Tensor

from rlkit_capture.check_times import CheckTimes
from rlkit_capture.outline import Outline, change, difference
from rlkit_capture.recording import Builder, NotTraceableError, Recording, Trace, last_line
from rlkit_capture.traced_gradients import (
    Equal,
    GradientRun,
    StepState,
    about_equal,
    all_close,
    copy_all,
    differs,
    named_leaves,
    same_bits,
)
from rlkit_core import Learner
from rlkit_core.learner.minibatch import Minibatch


class CpuStep:
    """One recording: made while the learner takes its first step on such a minibatch.

    Args:
        learner: whose step it is.
        batch: the first minibatch.
        builder: makes a function of the recorded operations.
        exact: only what equals the eager run to the last bit is a replay of it.

    Attributes:
        due: when replays are checked.
        problem: why it cannot be replayed; None where it can. The step itself can be taken in any case.
    """

    def __init__(self, learner: Learner, batch: Minibatch, builder: type[Builder], *, exact: bool = False) -> None:
        self._learner, self._exact, self.due = learner, exact, CheckTimes()
        equal = same_bits if exact else all_close
        self._run = GradientRun(learner, batch)
        before = StepState(learner)
        leaves = dict(named_leaves(batch))
        trace = Trace(self._run.run, leaves.values())
        self._operations = trace.operations
        self._first, self._first_loose = trace.outputs, 1 + len(self._run.rows)
        self._checked = self._run.all_checked
        self._direct = self._run.direct_optimizers()
        self.problem: str | None = None
        try:
            self._recording = Recording(trace, leaves, builder, exact=exact)
            if not self._replays_as(self._run, self._first, list(leaves.values()), before, equal, trace):
                self.problem = differs(change(trace.operations, self._run.changed()))
        except NotTraceableError as error:
            self.problem = str(error)
        # A step that draws random numbers or changes buffers can only be repeated from where it began.
        self._moves = not before.equals(StepState(learner), equal)

    def take_first(self, batch: Minibatch) -> None:
        """Take the step that was recorded, from what it computed then."""
        if not self._finish(self._run, self._first):
            self._learner.eager_step(batch)
        self._first = []

    def replay(self, batch: Minibatch, inputs: list[Tensor]) -> None:
        """Take a step on another minibatch, whose tensors are ``inputs``.

        One whose loss or gradients are not finite is taken eagerly, so that ``on_nonfinite`` means the same.
        """
        before = StepState(self._learner) if self._moves else None
        out = self._recording.replay(inputs)
        if self._run.loose:
            self._run.place_loose(out[self._first_loose :])
        if not self._finish(self._run, out):
            if before is not None:
                before.put_back()
            self._learner.eager_step(batch)

    def check(self, batch: Minibatch, inputs: list[Tensor]) -> str | None:
        """Take a step both ways; how they differ, None where they are the same.

        Where a replay has to be exact, the step is the eager one, which is the same or the right one. Else it is the
        replayed one, and nothing is stepped where they differ.
        """
        run, before = GradientRun(self._learner, batch), StepState(self._learner)
        with Outline(inputs) as now:
            outputs = run.run()
        same = run.logs_like(self._run) and self._replays_as(
            run, outputs, inputs, before, same_bits if self._exact else about_equal
        )
        if not self._exact:
            before.put_back()
            if same:
                self.replay(batch, inputs)
        elif not self._finish(run, outputs):
            before.put_back()
            self._learner.eager_step(batch)
        return None if same else differs(difference(self._operations, now.operations))

    def _replays_as(
        self,
        run: GradientRun,
        outputs: list[Tensor],
        inputs: list[Tensor],
        before: StepState,
        equal: Equal,
        trace: Trace | None = None,
    ) -> bool:
        """Whether a replay from ``before`` gives what a run gave; all is then as the run left it.

        Raises:
            NotTraceableError: torch does not run the recording.
        """
        after = StepState(self._learner)
        gradients = list(run.gradients.values())
        expected = [gradient.clone() for gradient in gradients]
        before.put_back()
        try:
            again = self._recording.replay(inputs)
        except RuntimeError as error:
            where = None if trace is None else trace.fails_at()
            what = "the recorded operations" if where is None else f"{where}"
            raise NotTraceableError(f"{what} cannot be replayed: {last_line(error)}") from error
        else:
            # Gradients outside of flat buffers are among the outputs, the others were written in place.
            same = equal(outputs, again) and equal(expected, gradients)
            return same and after.equals(StepState(self._learner), equal)
        finally:
            copy_all(gradients, expected)
            after.put_back()

    def _finish(self, run: GradientRun, out: list[Tensor]) -> bool:
        """The part outside of the recording: check, log, step. False where a value is not finite: nothing changed."""
        numbers = out[0].tolist()
        isfinite = math.isfinite
        for index in self._checked:
            if not isfinite(numbers[index]):
                return False
        learner = self._learner
        learner.metrics.log_block(run.keys, run.values(numbers))
        for k, (module_id, name) in enumerate(run.rows, 1):
            learner.rows.add(module_id, name, out[k])
        if self._direct is None:
            learner.apply_gradients(run.gradients)
        else:
            for registered in self._direct:
                registered.step()
        return True
