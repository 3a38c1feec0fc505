"""Gradient steps that are recorded once per shape of minibatch and then replayed.

The recorded part of ``Learner._update`` is everything from the forward pass to clipped gradients. What stays outside
is small: the check for non-finite values, and the optimizer's step. A minibatch whose loss or gradient is not finite is
done again eagerly, so ``on_nonfinite`` means the same in both.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rlkit_core.data.nested import Nested
from rlkit_core.errors import ConfigError
from rlkit_core.learner.metrics import Key, Metrics, Reduce
from rlkit_core.learner.recording import (
    InductorBuilder,
    NotTraceableError,
    Recording,
    TorchScriptBuilder,
)
from rlkit_core.learner.rows import RowLog

if TYPE_CHECKING:
    from rlkit_core.learner.learner import Learner

_LOG = logging.getLogger(__name__)
Batch = dict[str, dict[str, Nested]]
_BUILDERS = {"capture": TorchScriptBuilder, "auto": TorchScriptBuilder, "inductor": InductorBuilder}


class MetricsTap(Metrics):
    """Takes the place of the learner's metrics while a step is recorded, and keeps what is logged, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[tuple[Key, Any, Reduce]] = []

    def log_value(self, key: str | tuple[str, ...], value: Any, *, reduce: Reduce = "mean") -> None:
        """Note one value."""
        super().log_value(key, value, reduce=reduce)
        path = (key,) if isinstance(key, str) else tuple(key)
        self.logged.append((path, value.detach() if isinstance(value, Tensor) else value, reduce))


class CapturedStep:
    """``Learner._update``, recorded at the first minibatch of each shape and replayed from then on.

    Args:
        learner: the learner whose step this is.
        mode: ``"capture"`` replays the operations as they are, ``"inductor"`` compiles them; ``"auto"`` is
            ``"capture"`` where a step can be recorded, and says so once where it cannot and goes on eagerly.
    """

    def __init__(self, learner: Learner, mode: str) -> None:
        self._learner, self._mode = learner, mode
        self._steps: dict[Any, _RecordedStep | None] = {}

    def __call__(self, batch: Batch) -> None:
        """One gradient step."""
        leaves = dict(_named_leaves(batch))
        signature = self._signature(leaves)
        if signature not in self._steps:
            self._steps[signature] = self._record(batch, leaves)
            return
        step = self._steps[signature]
        if step is None or not step.replay(list(leaves.values())):
            self._learner._update(batch)

    def _signature(self, leaves: dict[str, Tensor]) -> Any:
        """What a recording depends on: shapes, strides and dtypes, which modules train, and with which optimizers."""
        learner = self._learner
        shapes = tuple((name, x.shape, x.stride(), x.dtype) for name, x in leaves.items())
        return shapes, learner._trained, tuple(map(id, learner._optimizers.values()))

    def _record(self, batch: Batch, leaves: dict[str, Tensor]) -> _RecordedStep | None:
        """Take this step for real while recording it; None where it cannot be recorded (the step is taken eagerly)."""
        try:
            return _RecordedStep(self._learner, batch, leaves, _BUILDERS[self._mode])
        except NotTraceableError as error:
            if self._mode != "auto":
                raise NotTraceableError(f"learners(compile={self._mode!r}): {error}") from error
            _LOG.warning("learners(compile='auto'): this step runs eagerly: %s", error)
            self._learner._update(batch)
            return None


class _RecordedStep:
    """One recording: made while the learner takes its first step on such a minibatch."""

    def __init__(self, learner: Learner, batch: Batch, leaves: dict[str, Tensor], builder: Any) -> None:
        self._learner = learner
        modules = [m for m in learner.module.values() if isinstance(m, nn.Module)]
        buffers = [b for m in modules for b in m.buffers()]
        before = [b.clone() for b in buffers]
        random_before = torch.get_rng_state()
        tap, rows = MetricsTap(), RowLog()

        def gradient_step() -> list[Tensor]:
            self._losses = learner.compute_losses(fwd_out=learner.module.forward_train(batch), batch=batch)
            self.gradients = learner.postprocess_gradients(learner.compute_gradients(self._losses))
            flat = {id(g) for r in learner._optimizers.values() for f in r.flat if f for g in f.gradients}
            self._loose = [p for p, g in self.gradients.items() if id(g) not in flat]
            tensors = [value for _, value, _ in tap.logged if isinstance(value, Tensor)]
            losses = [loss.detach() for loss in self._losses.values()]
            logged_rows = [tensor for _, _, tensor in rows.logged]
            return [*losses, *tensors, *logged_rows, *(self.gradients[p] for p in self._loose)]

        with _tapped(learner, tap, rows):
            self._recording = Recording(gradient_step, leaves, builder)
        self._logged, self._rows = tap.logged, [(mid, name) for mid, name, _ in rows.logged]
        random_after, after = torch.get_rng_state(), [b.clone() for b in buffers]
        first = self._recording.outputs
        gradients = {p: g.clone() for p, g in self.gradients.items()}
        self._num_losses = len(self._losses)

        torch.set_rng_state(random_before)
        _copy(buffers, before)
        try:
            again = self._recording.replay(list(leaves.values()))
        except RuntimeError as error:
            raise NotTraceableError(f"the recorded operations cannot be replayed: {error}") from error
        self._place_loose(again)
        equal = all(
            torch.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True)
            for a, b in zip(first, again, strict=True)
        )
        equal = equal and all(
            torch.allclose(g, self.gradients[p], rtol=1e-4, atol=1e-6, equal_nan=True)
            for p, g in gradients.items()
        )
        torch.set_rng_state(random_after)
        _copy(buffers, after)
        if not equal:
            raise NotTraceableError(
                "the replay differs from the eager step it was recorded from; something in the loss or the forward "
                "pass changes from call to call without a tensor showing it"
            )
        if self._finish(first):
            return
        learner._update(batch)

    def replay(self, inputs: list[Tensor]) -> bool:
        """Take a step on other inputs; False where a value is not finite, and nothing was changed."""
        out = self._recording.replay(inputs)
        self._place_loose(out)
        return self._finish(out)

    def _place_loose(self, out: list[Tensor]) -> None:
        """Gradients outside of flat buffers are new tensors each time; put them where eager ones would be."""
        for parameter, gradient in zip(self._loose, out[len(out) - len(self._loose) :], strict=True):
            self.gradients[parameter] = parameter.grad = gradient

    def _finish(self, out: list[Tensor]) -> bool:
        """The part outside of the recording: check, log, step."""
        learner = self._learner
        tensors = iter(out[self._num_losses :])
        values = [
            (path, next(tensors) if isinstance(value, Tensor) else value, how)
            for path, value, how in self._logged
        ]
        norms = [value for path, value, _ in values if path[-1].endswith("_global_norm")]
        if not all(math.isfinite(x) for x in (*out[: self._num_losses], *norms)):
            return False
        for path, value, how in values:
            learner.metrics.log_value(path, value, reduce=how)
        for (module_id, name), rows in zip(self._rows, tensors, strict=False):  # loose gradients follow
            learner.rows.add(module_id, name, rows)
        learner.apply_gradients(self.gradients)
        return True


def make_step(learner: Learner) -> Any:
    """The function that takes a gradient step, as ``learners(compile=...)`` says.

    Raises:
        ConfigError: this learner overrides what the recording replaces.
    """
    mode = learner.config.compile
    if mode is None:
        return learner._update
    from rlkit_core.learner.learner import Learner as Base

    if type(learner)._update is not Base._update:
        if mode == "auto":
            return learner._update
        raise ConfigError(
            f"learners(compile={mode!r}): {type(learner).__name__} overrides _update(), which a recording would "
            "bypass; override compute_losses() or postprocess_gradients() instead, or use compile=None"
        )
    return CapturedStep(learner, mode)


@contextmanager
def _tapped(learner: Learner, tap: MetricsTap, rows: RowLog) -> Iterator[None]:
    """Record metrics and rows instead of collecting them, and leave checks that read values for later."""
    before = learner.metrics, learner.rows
    learner.metrics, learner.rows, learner.reads_values = tap, rows, False
    try:
        yield
    finally:
        learner.metrics, learner.rows = before
        learner.reads_values = True


def _named_leaves(struct: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(struct, dict):
        for key, value in struct.items():
            yield from _named_leaves(value, f"{prefix}/{key}")
    elif isinstance(struct, (tuple, list)):
        for index, value in enumerate(struct):
            yield from _named_leaves(value, f"{prefix}/{index}")
    else:
        yield prefix, struct


@torch.no_grad()
def _copy(targets: list[Tensor], values: list[Tensor]) -> None:
    for target, value in zip(targets, values, strict=True):
        target.copy_(value)
