"""A gradient step as a CUDA graph, the optimizers' steps included: one launch, and nothing that the host waits for.

Whether a minibatch is finite is decided on the device: the fused kernels leave everything as it is where ``found_inf``
is 1. The host reads the losses and norms of all minibatches once, when the update is over, and then counts the bad ones
or raises.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from rlkit_capture.check_times import CheckTimes
from rlkit_capture.cuda_graph import CudaGraphRecording
from rlkit_capture.deferred_checks import DeferredChecks
from rlkit_capture.outline import Outline, change, difference
from rlkit_capture.recording import NotTraceableError
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
from rlkit_core.data.nested import map_leaves
from rlkit_core.learner.minibatch import Minibatch
from rlkit_core.learner.optim.fused_adam import FusedStep
from rlkit_core.learner.optim.registered import RegisteredOptimizer


class CudaStep:
    """One recording, made while the learner takes its first step on such a minibatch.

    Optimizers other than fused ``Adam`` and ``AdamW`` on flat parameters step outside of the graph; the host then waits
    for every minibatch, as it does for an eager one.

    Args:
        learner: whose step it is.
        batch: the first minibatch.
        checks: look at minibatches when the update is over.
        equal: what counts as equal to the eager run.

    Raises:
        NotTraceableError: the step cannot be recorded. Nothing was stepped.
    """

    recording_class: ClassVar[type[CudaGraphRecording]] = CudaGraphRecording

    def __init__(
        self,
        learner: Learner,
        batch: Minibatch,
        checks: DeferredChecks,
        equal: Equal = all_close,
    ) -> None:
        self._learner, self._checks = learner, checks
        self._exact, self.due = equal is same_bits, CheckTimes()
        static = {mid: map_leaves(torch.clone, rows) for mid, rows in batch.items()}
        self._run = GradientRun(learner, static)
        self._inside: list[RegisteredOptimizer] | None = None
        self._found = {mid: torch.zeros((), device=learner.device) for mid in learner.optimizers.module_ids()}
        changed = [b for m in learner.module.values() if isinstance(m, nn.Module) for b in m.buffers()]
        for registered in learner.optimizers:
            if isinstance(registered.step, FusedStep):
                registered.step.hold_rates_as_tensors()
                changed += registered.step.prepare()
        before = [tensor.detach().clone() for tensor in changed]
        random = learner.rng.live_state()
        after: list[Tensor] = []
        self._runs = 0

        def put_back() -> None:
            if self._runs == 1:
                self._inside = self._fit_for_graph()
            if self._runs == 2:  # the first run that may have stepped
                after[:] = [tensor.detach().clone() for tensor in changed]
            learner.forget_losses()  # autograd's nodes of a run must not outlive it
            copy_all(changed, before)
            learner.rng.set_live_state(random)

        try:
            self._recording = self.recording_class(self._body, dict(named_leaves(static)), between=put_back)
            first, *_, last = self._recording.operations
            again = self._recording.replay([leaf for _, leaf in named_leaves(batch)])
            if not (equal(self._recording.outputs, again) and equal(after, changed)):
                where = difference(first, last) or change(first, [*self._run.changed(), *changed])
                raise NotTraceableError(differs(where))
        except NotTraceableError:
            put_back()
            raise
        self._operations = last
        if not self._finish(again):
            learner.eager_step(batch)

    def _fit_for_graph(self) -> list[RegisteredOptimizer] | None:
        """The optimizers to step in the graph; None where one of them has to step outside."""
        direct = self._run.direct_optimizers()
        if direct is None or any(not isinstance(r.step, FusedStep) or r.step.has_hooks for r in direct):
            return None
        return direct

    def _body(self) -> list[Tensor]:
        """What is recorded."""
        self._runs += 1
        outputs = self._run.run()
        if self._inside is None:
            return outputs
        scalars = outputs[0].unbind()
        for registered in self._inside:
            found = self._found[registered.module_id]
            largest = torch.linalg.vector_norm(
                torch.stack([scalars[k] for k in self._run.checked(registered.module_id)]), ord=math.inf
            )
            # Infinity less itself is NaN, as is NaN; a finite number less itself is zero.
            torch.ne(largest - largest, 0.0, out=found)
            registered.step(found)
        return outputs

    def replay(self, batch: Minibatch, inputs: list[Tensor]) -> None:
        """Take a step on another minibatch, whose tensors are ``inputs``."""
        for registered in self._inside or ():
            registered.step.hold_rates_as_tensors()  # type: ignore[attr-defined]
        if not self._finish(self._recording.replay(inputs)):
            self._learner.eager_step(batch)

    def check(self, batch: Minibatch, inputs: list[Tensor]) -> str | None:
        """Take a step both ways; how they differ, None where they are the same.

        The step is the replayed one. Where they differ it is the eager one if a replay has to be exact, and none else.
        """
        learner = self._learner
        stepped = [t for r in learner.optimizers if isinstance(r.step, FusedStep) for t in r.step.prepare()]
        before = StepState(learner, stepped)
        run = GradientRun(learner, batch)
        with Outline(inputs) as now:
            outputs = run.run()
        outputs = [tensor.detach().clone() for tensor in outputs]
        learner.forget_losses()
        gradients = [gradient for parameter, gradient in run.gradients.items() if parameter not in run.loose]
        expected, after = [gradient.clone() for gradient in gradients], StepState(learner)
        before.put_back()
        for registered in self._inside or ():
            registered.step.hold_rates_as_tensors()  # type: ignore[attr-defined]
        again = self._recording.replay(inputs)
        equal = same_bits if self._exact else about_equal
        same = run.logs_like(self._run) and equal(outputs, again) and equal(expected, gradients)
        if same and after.equals(StepState(learner), equal):
            if not self._finish(again):
                learner.eager_step(batch)
            return None
        before.put_back()
        if self._exact:
            copy_all(gradients, expected)
            after.put_back()
            if not self._take(run, outputs):
                before.put_back()
                learner.eager_step(batch)
        return differs(difference(self._operations, now.operations))

    def _take(self, run: GradientRun, outputs: Sequence[Tensor]) -> bool:
        """Step outside of the graph with the gradients of a run; False where a value is not finite."""
        learner, numbers = self._learner, outputs[0].tolist()
        if not all(math.isfinite(numbers[k]) for k in run.all_checked):
            return False
        learner.metrics.log_block(run.keys, run.values(numbers))
        for (module_id, name), rows in zip(run.rows, outputs[1:], strict=False):
            learner.rows.add(module_id, name, rows.clone())
        learner.apply_gradients(run.gradients)
        return True

    def _finish(self, outputs: Sequence[Tensor]) -> bool:
        run = self._run
        if self._inside is None:
            run.place_loose(outputs[1 + len(run.rows) :])
            return self._take(run, outputs)
        self._checks.add(self, outputs[0].clone())
        for (module_id, name), rows in zip(run.rows, outputs[1:], strict=False):
            self._learner.rows.add(module_id, name, rows.clone())
        return True

    def log(self, numbers: Sequence[float]) -> dict[str, str]:
        """Log a minibatch that was replayed before.

        Args:
            numbers: its losses and metrics.

        Returns:
            Module id to what is not finite, for the modules that the device did not step.
        """
        run, metrics = self._run, self._learner.metrics
        bad: dict[str, str] = {}
        for registered in self._inside or ():
            module_id = registered.module_id
            wrong = [k for k in run.checked(module_id) if not math.isfinite(numbers[k])]
            if wrong:
                losses = [k for k in wrong if k < run.num_losses]
                norms = "NaN or infinite gradients in their joint norm"
                bad[module_id] = f"the loss is {numbers[losses[0]]}" if losses else norms
        values = run.values(numbers)
        if not bad:
            metrics.log_block(run.keys, values)
            return bad
        for (path, reduce), value in zip(run.keys, values, strict=True):
            if not (path[0] in bad and path[-1].endswith("_global_norm")):
                metrics.log_value(path, value, reduce=reduce)
        for module_id in bad:
            metrics.log_value((module_id, "num_nonfinite_updates_lifetime"), 1, reduce="lifetime_sum")
        return bad
