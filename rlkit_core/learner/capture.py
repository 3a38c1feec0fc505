"""Gradient steps that are recorded once per shape of minibatch and then replayed.

On a CPU, the recorded part of ``Learner._update`` is everything from the forward pass to clipped gradients. What stays
outside is small: the check for non-finite values, and the optimizer's step. A minibatch whose loss or gradient is not
finite is done again eagerly, so ``on_nonfinite`` means the same in both. On a GPU the whole step is one CUDA graph; see
:mod:`~rlkit_core.learner.graph_step` for what that means for ``on_nonfinite``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rlkit_core.errors import ConfigError
from rlkit_core.learner.graph_step import GraphStep, Later
from rlkit_core.learner.recorded_step import Batch, RecordedStep, named_leaves
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

    Attributes:
        on_gpu: whether steps become CUDA graphs.
        later: minibatches that are checked when the update is over.
    """

    def __init__(self, learner: Learner, mode: str) -> None:
        self._learner, self._mode = learner, mode
        self._steps: dict[Any, RecordedStep | GraphStep | None] = {}
        self._made_for: Any = None
        self._told: set[str] = set()
        self.on_gpu = learner.device.type == "cuda"
        self.later = Later(on_gpu=self.on_gpu)

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
        self.later.begin_minibatch()
        if signature not in self._steps:
            self._steps[signature] = self._record(batch)
            return
        step = self._steps[signature]
        if step is None or not step.replay(leaves):
            learner._update(batch)

    def _record(self, batch: Batch) -> RecordedStep | GraphStep | None:
        """Take this step for real while recording it; None where it cannot be recorded (the step is taken eagerly)."""
        reason = self._must_be_eager()
        if reason is None:
            try:
                if self.on_gpu:
                    return GraphStep(self._learner, batch, self.later)
                return RecordedStep(self._learner, batch, dict(named_leaves(batch)), _BUILDERS[self._mode])
            except NotTraceableError as error:
                if self._mode != "auto":
                    raise NotTraceableError(f"learners(compile={self._mode!r}): {error}") from error
                reason = str(error)
        if reason not in self._told:
            self._told.add(reason)
            _LOG.warning("learners(compile=%r): this step runs eagerly: %s", self._mode, reason)
        self._learner._update(batch)
        return None

    def _must_be_eager(self) -> str | None:
        """Why a step like this is not recorded, whatever its loss; None where it may be."""
        learner = self._learner
        if learner.peers is not None:
            return "it averages gradients over several learners"
        configs = [learner.config, *(learner.config.get_config_for_module(mid) for mid in learner.module)]
        if self.on_gpu and any(config.on_nonfinite == "zero" for config in configs):
            return "on_nonfinite='zero' looks at every gradient; use 'skip' or 'raise' to have it captured on a GPU"
        return None


def make_step(learner: Learner) -> Any:
    """The function that takes a gradient step, as ``learners(compile=...)`` says.

    Raises:
        ConfigError: this learner overrides what the recording replaces, or is to compile on a GPU.
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
    if mode == "inductor" and learner.device.type == "cuda":
        raise ConfigError(
            "learners(compile='inductor') compiles steps for the CPU only; on a GPU use compile='capture', a CUDA graph"
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
