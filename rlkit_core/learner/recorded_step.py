"""A gradient step that was recorded, on the CPU: replayed, checked, logged, applied."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rlkit_core.columns import ALL_MODULES
from rlkit_core.data.nested import Nested
from rlkit_core.learner.metrics import BlockKeys, Key, Metrics, Reduce
from rlkit_core.learner.optim.gradients import GradientSteps
from rlkit_core.learner.optim.registered import ParamDict, RegisteredOptimizer
from rlkit_core.learner.recording import NotTraceableError, Recording
from rlkit_core.learner.row_log import RowLog

if TYPE_CHECKING:
    from rlkit_core.learner.learner import Learner

Batch = dict[str, dict[str, Nested]]
DIFFERS = (
    "the replay differs from the eager step it was recorded from; something in the loss or the forward pass changes "
    "from call to call without a tensor showing it"
)


class MetricsTap(Metrics):
    """Takes the place of the learner's metrics while a step is recorded, and keeps what is logged, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[tuple[Key, Any, Reduce]] = []

    def log_value(self, key: str | tuple[str, ...], value: object, *, reduce: Reduce = "mean") -> None:
        """Note one value."""
        super().log_value(key, value, reduce=reduce)
        path = (key,) if isinstance(key, str) else tuple(key)
        self.logged.append((path, value.detach() if isinstance(value, Tensor) else value, reduce))


class GradientRun:
    """The part of a step that is recorded, from the forward pass to clipped gradients, and what it gives.

    Args:
        learner: whose step it is.
        batch: what :meth:`run` reads.

    Attributes:
        gradients: parameter to clipped gradient, as of the latest run.
        loose: parameters whose gradients are in no flat buffer, and so new tensors in every run.
        keys: of the metrics that are logged, in order.
        rows: module id and name of what is logged per row.
        num_losses: how many of the numbers, the first ones, are losses.
    """

    def __init__(self, learner: Learner, batch: Batch) -> None:
        self._learner, self._batch = learner, batch
        self.gradients: ParamDict = {}
        self.loose: list[Any] = []
        self.keys: BlockKeys = ()
        self.rows: list[tuple[str, str]] = []
        self._plan: list[Any] = []
        self._checked: dict[str, list[int]] = {}
        self.num_losses = 0

    def run(self) -> list[Tensor]:
        """Run it once.

        Returns:
            ``[numbers, *rows, *loose gradients]``: ``numbers`` are the losses and metrics, a 1-dim tensor.
        """
        learner = self._learner
        tap, log = MetricsTap(), RowLog()
        with tapped(learner, tap, log):
            losses = learner.compute_losses(fwd_out=learner.module.forward_train(self._batch), batch=self._batch)
            self.gradients = learner.postprocess_gradients(learner.compute_gradients(losses))
        flat = {id(g) for r in learner._optimizers.values() for f in r.flat if f for g in f.gradients}
        self.loose = [p for p, g in self.gradients.items() if id(g) not in flat]
        self.keys = tuple((path, how) for path, _, how in tap.logged)
        self.rows = [(module_id, name) for module_id, name, _ in log.logged]
        self.num_losses = len(losses)
        scalars = [loss.detach() for loss in losses.values()]
        self._plan = []
        self._checked = {module_id: [k] for k, module_id in enumerate(losses)}
        for path, value, _ in tap.logged:
            self._plan.append(value)
            if isinstance(value, Tensor):
                if path[-1].endswith("_global_norm"):
                    self._checked.setdefault(path[0], []).append(len(scalars))
                self._plan[-1] = _At(len(scalars))
                scalars.append(value)
        rows = [tensor for _, _, tensor in log.logged]
        return [_together(scalars), *rows, *(self.gradients[p] for p in self.loose)]

    def values(self, numbers: Sequence[float]) -> list[float]:
        """The values of :attr:`keys`, from the numbers of a run."""
        if len(self._plan) + self.num_losses == len(numbers):  # all of them were tensors
            return list(numbers[self.num_losses :])
        return [numbers[v.index] if isinstance(v, _At) else float(v) for v in self._plan]

    def checked(self, module_id: str) -> list[int]:
        """Which of the numbers have to be finite for a module to be stepped: its loss and norms of its gradients."""
        if module_id != ALL_MODULES:
            return self._checked.get(module_id, [])
        return [*range(self.num_losses), *self._checked.get(ALL_MODULES, [])]

    @property
    def all_checked(self) -> list[int]:
        """Which of the numbers have to be finite for all modules to be stepped."""
        return [k for indices in self._checked.values() for k in indices]

    def place_loose(self, gradients: Sequence[Tensor]) -> None:
        """Put new gradients where eager ones would be."""
        for parameter, gradient in zip(self.loose, gradients, strict=True):
            self.gradients[parameter] = parameter.grad = gradient

    def direct_optimizers(self) -> list[RegisteredOptimizer] | None:
        """The optimizers to step, where ``apply_gradients`` would do nothing else; None where it would."""
        learner = self._learner
        if type(learner).apply_gradients is not GradientSteps.apply_gradients or self.loose:
            return None
        chosen = []
        for registered in learner._optimizers.values():
            count = sum(parameter in self.gradients for parameter in registered.parameters)
            if count and (count < len(registered.parameters) or None in registered.flat or not registered.flat):
                return None
            if count:
                chosen.append(registered)
        return chosen


class _At:
    """Where in the numbers of a run a metric is."""

    def __init__(self, index: int) -> None:
        self.index = index


class RecordedStep:
    """One recording: made while the learner takes its first step on such a minibatch.

    Args:
        learner: whose step it is.
        batch: the first minibatch.
        leaves: its tensors by name.
        builder: makes a function of the recorded operations.

    Raises:
        NotTraceableError: the step cannot be recorded. Nothing was stepped.
    """

    def __init__(self, learner: Learner, batch: Batch, leaves: dict[str, Tensor], builder: Any) -> None:
        self._learner = learner
        self._run = run = GradientRun(learner, batch)
        modules = [m for m in learner.module.values() if isinstance(m, nn.Module)]
        buffers = [b for m in modules for b in m.buffers()]
        before = [b.clone() for b in buffers]
        random_before = torch.get_rng_state()

        self._recording = Recording(run.run, leaves, builder)
        random_after, after = torch.get_rng_state(), [b.clone() for b in buffers]
        first = self._recording.outputs
        gradients = {p: g.clone() for p, g in run.gradients.items()}

        torch.set_rng_state(random_before)
        copy_all(buffers, before)
        try:
            again = self._recording.replay(list(leaves.values()))
        except RuntimeError as error:
            raise NotTraceableError(f"the recorded operations cannot be replayed: {error}") from error
        self._first_loose = 1 + len(run.rows)
        run.place_loose(again[self._first_loose :])
        equal = all_close(first, again) and all_close(gradients.values(), [run.gradients[p] for p in gradients])
        torch.set_rng_state(random_after)
        copy_all(buffers, after)
        if not equal:
            raise NotTraceableError(DIFFERS)
        self._checked = run.all_checked
        self._direct = run.direct_optimizers()
        if not self._finish(first):
            learner._update(batch)

    def replay(self, inputs: list[Tensor]) -> bool:
        """Take a step on other inputs; False where a value is not finite, and nothing was changed."""
        out = self._recording.replay(inputs)
        if self._run.loose:
            self._run.place_loose(out[self._first_loose :])
        return self._finish(out)

    def _finish(self, out: list[Tensor]) -> bool:
        """The part outside of the recording: check, log, step."""
        learner, run = self._learner, self._run
        numbers = out[0].tolist()
        isfinite = math.isfinite
        for index in self._checked:
            if not isfinite(numbers[index]):
                return False
        learner.metrics.log_block(run.keys, run.values(numbers))
        for k, (module_id, name) in enumerate(run.rows, 1):
            learner.rows.add(module_id, name, out[k])
        if self._direct is None:
            learner.apply_gradients(run.gradients)
        else:
            for registered in self._direct:
                registered.step()
        return True


@contextmanager
def tapped(learner: Learner, tap: MetricsTap, rows: RowLog) -> Iterator[None]:
    """Record metrics and rows instead of collecting them, and leave checks that read values for later."""
    before = learner.metrics, learner.rows
    learner.metrics, learner.rows, learner.reads_values = tap, rows, False
    try:
        yield
    finally:
        learner.metrics, learner.rows = before
        learner.reads_values = True


def all_close(some: Any, others: Any) -> bool:
    """Whether tensors are equal to float tolerance, NaN where the others have it."""
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True) for a, b in zip(some, others, strict=True))


@torch.no_grad()
def copy_all(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Copy values into tensors, one by one."""
    for target, value in zip(targets, values, strict=True):
        target.copy_(value)


def _together(scalars: list[Tensor]) -> Tensor:
    """Tensors of one element as one tensor ``[len(scalars)]``: float32 if they all are, else float64."""
    if not scalars:
        return torch.zeros(0)
    if any(x.dtype != torch.float32 for x in scalars):
        scalars = [x.double() for x in scalars]
    return torch.stack([x if x.dim() == 0 else x.reshape(()) for x in scalars])


def named_leaves(struct: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a batch with their paths, in order."""
    if isinstance(struct, Tensor):
        yield prefix, struct
    else:
        for key, value in struct.items() if isinstance(struct, dict) else enumerate(struct):
            yield from named_leaves(value, f"{prefix}/{key}")
