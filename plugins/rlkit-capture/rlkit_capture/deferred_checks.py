"""Minibatches of captured steps on a GPU, looked at when the update is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from rlkit_core import Learner
from rlkit_core.errors import NonFiniteError

RandomState = tuple[Tensor, Tensor | None]


class LoggedLater(Protocol):
    """A step that logs its numbers when they have been read."""

    def log(self, numbers: Sequence[float]) -> dict[str, str]:
        """Log a minibatch; module id to what is not finite."""
        raise NotImplementedError


class DeferredChecks:
    """Minibatches of one update whose losses and norms nobody has looked at yet.

    Args:
        learner: whose they are.
        on_gpu: there may be some.
    """

    def __init__(self, learner: Learner, *, on_gpu: bool) -> None:
        self._learner = learner
        self.on_gpu = on_gpu
        self._waiting: list[tuple[int, LoggedLater, Tensor]] = []
        self._begun = 0
        self._random: RandomState | None = None

    def begin_update(self) -> None:
        """Forget what an update left that was broken off, and note from where this one draws its minibatches."""
        self._waiting, self._begun = [], 0
        self._random = self._learner.rng.live_state() if self.on_gpu else None

    def begin_minibatch(self) -> None:
        """Count one minibatch, whoever takes its step."""
        self._begun += 1

    def add(self, step: LoggedLater, numbers: Tensor) -> None:
        """Keep the losses and metrics of the minibatch begun last."""
        self._waiting.append((self._begun - 1, step, numbers))

    def read(self) -> None:
        """Bring all numbers to the host in one transfer and log them.

        Raises:
            NonFiniteError: a minibatch was not finite for a module whose ``on_nonfinite`` is ``"raise"``; the first one
                is named, and torch's generators are where they were when the update began to draw minibatches.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting or self._random is None:
            return
        learner = self._learner
        numbers = torch.cat([own for _, _, own in waiting]).tolist()
        start = 0
        bad: list[tuple[int, str, str]] = []
        for index, step, own in waiting:
            reasons = step.log(numbers[start : start + own.numel()])
            start += own.numel()
            raising = [(index, m, why) for m, why in reasons.items() if learner.config_for(m).on_nonfinite == "raise"]
            bad += raising[:1]
        if not bad:
            return
        index, module_id, why = bad[0]
        error = NonFiniteError(
            f"update {learner.weights_seq_no + 1}, module {module_id!r}: {why}, in minibatch {index + 1} of "
            f"{self._begun} ({len(bad)} were not finite). A captured step on a GPU is checked when the update is over: "
            "minibatches that are not finite changed no weights, the others did. Lower the learning rate, set "
            "grad_clip, or set on_nonfinite='skip'; learners(compile=None) stops at the minibatch itself"
        )
        error.module_id, error.minibatch_index = module_id, index
        learner.rng.set_live_state(self._random)
        raise error
