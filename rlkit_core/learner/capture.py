"""Gradient steps that are recorded once per shape of minibatch and then replayed.

The recorded part of ``Learner._update`` is everything from the forward pass to clipped gradients. What stays outside
is small: the check for non-finite values, and the optimizer's step. A minibatch whose loss or gradient is not finite is
done again eagerly, so ``on_nonfinite`` means the same in both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rlkit_core.errors import ConfigError
from rlkit_core.learner.recorded_step import Batch, RecordedStep
from rlkit_core.learner.recording import InductorBuilder, NotTraceableError, TorchScriptBuilder

if TYPE_CHECKING:
    from rlkit_core.learner.learner import Learner

_LOG = logging.getLogger(__name__)
_BUILDERS = {"capture": TorchScriptBuilder, "auto": TorchScriptBuilder, "inductor": InductorBuilder}


class CapturedStep:
    """``Learner._update``, recorded at the first minibatch of each shape and replayed from then on.

    Args:
        learner: the learner whose step this is.
        mode: ``"capture"`` replays the operations as they are, ``"inductor"`` compiles them; ``"auto"`` is
            ``"capture"`` where a step can be recorded, and says so once where it cannot and goes on eagerly.
    """

    def __init__(self, learner: Learner, mode: str) -> None:
        self._learner, self._mode = learner, mode
        self._steps: dict[Any, RecordedStep | None] = {}
        self._made_for: Any = None

    def __call__(self, batch: Batch) -> None:
        """One gradient step."""
        learner = self._learner
        made_for = [learner.config, *[r.layout for r in learner._optimizers.values()]]
        if made_for != self._made_for:  # settings, optimizers or flat buffers are not those of the recordings
            self._steps.clear()
            self._made_for = made_for
        leaves: list[Tensor] = []
        seen: list[Any] = [learner._trained]
        _signature(batch, leaves, seen)
        signature = tuple(seen)
        if signature not in self._steps:
            self._steps[signature] = self._record(batch)
            return
        step = self._steps[signature]
        if step is None or not step.replay(leaves):
            learner._update(batch)

    def _record(self, batch: Batch) -> RecordedStep | None:
        """Take this step for real while recording it; None where it cannot be recorded (the step is taken eagerly)."""
        try:
            return RecordedStep(self._learner, batch, dict(_named_leaves(batch)), _BUILDERS[self._mode])
        except NotTraceableError as error:
            if self._mode != "auto":
                raise NotTraceableError(f"learners(compile={self._mode!r}): {error}") from error
            _LOG.warning("learners(compile='auto'): this step runs eagerly: %s", error)
            self._learner._update(batch)
            return None


def make_step(learner: Learner) -> Any:
    """The function that takes a gradient step, as ``learners(compile=...)`` says.

    Raises:
        ConfigError: this learner overrides what the recording replaces.
    """
    mode = learner.config.compile
    if mode is None:
        return learner._update
    if learner.peers is not None:
        if mode == "auto":
            return learner._update
        raise ConfigError(
            f"learners(compile={mode!r}): several learners average their gradients in the middle of a step, which a "
            "recording would leave out; use compile=None or 'auto', or num_learners=1"
        )
    from rlkit_core.learner.learner import Learner as Base

    if type(learner)._update is not Base._update:
        if mode == "auto":
            return learner._update
        raise ConfigError(
            f"learners(compile={mode!r}): {type(learner).__name__} overrides _update(), which a recording would "
            "bypass; override compute_losses() or postprocess_gradients() instead, or use compile=None"
        )
    return CapturedStep(learner, mode)


def _signature(struct: Any, leaves: list[Tensor], seen: list[Any]) -> None:
    """Collect the tensors of a batch, and what a recording of it depends on."""
    for key, value in struct.items() if isinstance(struct, dict) else enumerate(struct):
        seen.append(key)
        if isinstance(value, Tensor):
            leaves.append(value)
            seen.append(value.shape)
            seen.append(value.is_contiguous() or value.stride())
            seen.append(value.dtype)
        else:
            seen.append(len(value))
            _signature(value, leaves, seen)


def _named_leaves(struct: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(struct, Tensor):
        yield prefix, struct
    else:
        for key, value in struct.items() if isinstance(struct, dict) else enumerate(struct):
            yield from _named_leaves(value, f"{prefix}/{key}")
