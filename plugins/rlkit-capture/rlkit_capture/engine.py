"""The step engine: gradient steps that are recorded once per shape of minibatch and then replayed.

On a CPU, the recorded part of a step is everything from the forward pass to clipped gradients. What stays outside is
small: the check for non-finite values, and the optimizer's step. A minibatch whose loss or gradient is not finite is
done again eagerly, so ``on_nonfinite`` means the same in both. On a GPU the whole step is one CUDA graph; see
:mod:`~rlkit_capture.cuda_step` for what that means for ``on_nonfinite``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlkit_capture.deferred_checks import DeferredChecks
from rlkit_capture.recording import Builder, InductorBuilder, NotTraceableError, TorchScriptBuilder
from rlkit_core import Learner
from rlkit_core.data.nested import Nested
from rlkit_core.errors import ConfigError
from rlkit_core.learner.minibatch import Minibatch
from rlkit_core.learner.step import Eager, StepEngine

if TYPE_CHECKING:
    from rlkit_capture.cpu_step import CpuStep
    from rlkit_capture.cuda_step import CudaStep

_LOG = logging.getLogger(__name__)

#: The first and the last version of torch that this engine was tested with; it uses interfaces that are not public.
TESTED_TORCH = ((2, 6), (2, 13))
#: Steps on minibatches of one shape that ``"auto"`` takes eagerly before it records one: recording costs as much as
#: some 20 replays gain.
EAGER_STEPS = 32
#: Shapes of minibatches that ``"auto"`` keeps recordings of; others stay eager.
MAX_RECORDINGS = 16

Key = tuple[Any, ...]


class CaptureEngine:
    """A learner's steps, recorded and replayed.

    Args:
        learner: whose steps these are.
        builder: makes a function of recorded operations, on the CPU.
        exact: replay only what equals the eager step to the last bit, and be eager otherwise (``"auto"``). Else a
            tolerance of float32 is enough, and a step that cannot be recorded, or is no longer what was recorded, is an
            error.
        eager_steps: how many steps on minibatches of one shape come before the one that is recorded.

    Attributes:
        steps: the recordings, by what tells minibatches apart.
        checks: minibatches that are looked at when the update is over.
        on_gpu: whether steps become CUDA graphs.
    """

    def __init__(
        self, learner: Learner, *, builder: type[Builder] = TorchScriptBuilder, exact: bool, eager_steps: int = 0
    ) -> None:
        self._learner, self._builder = learner, builder
        self._exact, self._eager_steps = exact, eager_steps
        self._made_for = learner.recording_key
        self.steps: dict[Key, CpuStep | CudaStep] = {}
        self._eager: dict[str, str] = {}
        self._seen: dict[str, int] = {}
        self._names: dict[Key, str] = {}
        self._updates = 0
        self._told: set[str] = set()
        self.on_gpu = learner.device.type == "cuda"
        self.checks = DeferredChecks(learner, on_gpu=self.on_gpu)

    # -- a step engine ------------------------------------------------------------------------------------------------

    def begin_update(self) -> None:
        """Count it."""
        self._updates += 1
        self.checks.begin_update()

    def step(self, minibatch: Minibatch) -> None:
        """One gradient step: replayed where it was recorded."""
        learner = self._learner
        made_for = learner.recording_key
        if made_for != self._made_for:  # settings, optimizers or flat buffers are not those of the recordings
            self._forget(made_for)
        inputs: list[Tensor] = []
        seen: list[Any] = [learner.step_kind]
        _describe(minibatch, inputs, seen)
        key = tuple(seen)
        self.checks.begin_minibatch()
        recorded = self.steps.get(key)
        if recorded is None:
            self._first_steps(key, minibatch)
        elif not recorded.due.now(self._updates):
            recorded.replay(minibatch, inputs)
        elif (problem := recorded.check(minibatch, inputs)) is not None:
            del self.steps[key]
            if not self._exact:
                raise NotTraceableError(f"learners(compile={learner.config.compile!r}): {problem}")
            self._stay_eager(key, problem)

    def end_update(self) -> None:
        """Look at what is left to look at."""
        self.checks.read()

    def get_state(self) -> dict[str, Any]:
        """Which shapes of minibatch were seen how often, and which are eager for good, under names of 16 digits."""
        return {"seen": dict(self._seen), "eager": dict(self._eager)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Decide as the engine did that gave this state."""
        self._seen = {str(name): int(count) for name, count in state.get("seen", {}).items()}
        self._eager = {str(name): str(reason) for name, reason in state.get("eager", {}).items()}
        self._forget(self._learner.recording_key)

    # -- what to record -----------------------------------------------------------------------------------------------

    def _forget(self, made_for: tuple[Any, ...]) -> None:
        """Drop recordings; other settings may also make possible what was not."""
        if made_for[0] != self._made_for[0]:
            self._eager.clear()
        self.steps.clear()
        self._made_for = made_for

    def _name(self, key: Key) -> str:
        """The same for the same key in every process."""
        if key not in self._names:
            self._names[key] = hashlib.blake2b(repr(key).encode(), digest_size=8).hexdigest()
        return self._names[key]

    def _first_steps(self, key: Key, minibatch: Minibatch) -> None:
        """Take a step of which there is no recording; the time may have come to make one."""
        name = self._name(key)
        if name in self._eager:
            self._learner.eager_step(minibatch)
            return
        count = self._seen.get(name, 0)
        if count < self._eager_steps:
            self._seen[name] = count + 1
            self._learner.eager_step(minibatch)
            return
        if self._exact and len(self.steps) >= MAX_RECORDINGS:
            reason: str | None = f"there are recordings of {MAX_RECORDINGS} shapes of minibatch already"
        else:
            reason = self._must_be_eager()
        if reason is not None:
            self._learner.eager_step(minibatch)
        else:
            reason = self._record(key, minibatch)
        if reason is not None:
            self._stay_eager(key, reason)

    def _record(self, key: Key, minibatch: Minibatch) -> str | None:
        """Take this step for real while recording it; why it cannot be replayed.

        Raises:
            NotTraceableError: it cannot, and the config insists. Nothing was stepped.
        """
        from rlkit_capture.cpu_step import CpuStep  # with the first recording, and not with each algorithm
        from rlkit_capture.cuda_step import CudaStep
        from rlkit_capture.traced_gradients import all_close, same_bits

        learner = self._learner
        try:
            if self.on_gpu:
                self.steps[key] = CudaStep(learner, minibatch, self.checks, same_bits if self._exact else all_close)
                return None
            step = CpuStep(learner, minibatch, self._builder, exact=self._exact)
            if step.problem is not None and not self._exact:
                raise NotTraceableError(step.problem)
        except NotTraceableError as error:
            if not self._exact:
                raise NotTraceableError(f"learners(compile={learner.config.compile!r}): {error}") from error
            learner.eager_step(minibatch)
            return str(error)
        step.take_first(minibatch)
        if step.problem is None:
            self.steps[key] = step
        return step.problem

    def _stay_eager(self, key: Key, reason: str) -> None:
        self._eager[self._name(key)] = reason
        if reason not in self._told:
            self._told.add(reason)
            _LOG.warning("learners(compile=%r): this step runs eagerly: %s", self._learner.config.compile, reason)

    def _must_be_eager(self) -> str | None:
        """Why a step like this is not recorded, whatever its loss; None where it may be."""
        learner = self._learner
        configs = [learner.config, *(learner.config_for(mid) for mid in learner.module)]
        if self.on_gpu and any(config.on_nonfinite == "zero" for config in configs):
            return "on_nonfinite='zero' looks at every gradient; use 'skip' or 'raise' to have it captured on a GPU"
        return None


# -- what a config names ----------------------------------------------------------------------------------------------


def capture(learner: Learner) -> StepEngine:
    """``learners(compile="capture")``: operations replayed as they are; on a GPU a CUDA graph.

    Raises:
        ConfigError: there are several learners, or this torch is not one that capture was tested with.
    """
    _check(learner)
    return CaptureEngine(learner, exact=False)


def inductor(learner: Learner) -> StepEngine:
    """``learners(compile="inductor")``: recorded operations, compiled for the CPU.

    Raises:
        ConfigError: as :func:`capture`, or the learner is on a GPU.
    """
    _check(learner)
    if learner.device.type == "cuda":
        raise ConfigError(
            "learners(compile='inductor') compiles steps for the CPU only; on a GPU use compile='capture', a CUDA graph"
        )
    return CaptureEngine(learner, builder=InductorBuilder, exact=False)


def auto(learner: Learner) -> StepEngine:
    """``learners(compile="auto")``: replayed where that is the same to the last bit and pays; eager otherwise."""
    if learner.peers.size > 1:
        return Eager(learner)
    if not _is_tested():
        _say_once("learners(compile='auto'): steps run eagerly: %s", _untested())
        return Eager(learner)
    return CaptureEngine(learner, exact=True, eager_steps=EAGER_STEPS)


def _check(learner: Learner) -> None:
    name = learner.config.compile
    if learner.peers.size > 1:
        raise ConfigError(
            f"learners(compile={name!r}): several learners average their gradients in the middle of a step, which a "
            "recording would leave out; use compile=None or 'auto', or num_learners=1"
        )
    if not _is_tested():
        raise ConfigError(f"learners(compile={name!r}): {_untested()}; use compile=None or 'auto'")


def _is_tested() -> bool:
    major, minor = torch.__version__.split(".")[:2]
    first, last = TESTED_TORCH
    return first <= (int(major), int(minor)) <= last


def _untested() -> str:
    first, last = (".".join(map(str, version)) for version in TESTED_TORCH)
    return f"rlkit-capture was tested with torch {first} to {last}, and this is {torch.__version__}"


_SAID: set[str] = set()


def _say_once(message: str, *arguments: str) -> None:
    if message not in _SAID:
        _SAID.add(message)
        _LOG.warning(message, *arguments)


def _describe(struct: Nested, inputs: list[Tensor], seen: list[Any]) -> None:
    """Collect the tensors of a batch, and what a recording of it depends on."""
    for key, value in struct.items() if isinstance(struct, dict) else enumerate(struct):
        seen.append(key)
        if isinstance(value, Tensor):
            inputs.append(value)
            seen.append(value.shape)
            seen.append(value.is_contiguous() or value.stride())
            seen.append(value.dtype)
        else:
            seen.append(len(value))
            _describe(value, inputs, seen)
