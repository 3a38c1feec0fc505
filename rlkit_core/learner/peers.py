"""The other learners of a group, as one learner sees them; and nobody, as most learners do."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Protocol

from torch import Tensor

from rlkit_core.learner.minibatch import ModuleBatch
from rlkit_core.learner.optim.clipping import ParamDict
from rlkit_core.learner.optim.optimizer_set import OptimizerSet


class Peers(Protocol):
    """What a learner asks of the learners that it learns together with.

    All of them make the same calls in the same order. Every learner has the same modules and its own rows.

    Attributes:
        rank: which learner of the group this is; 0 is the first.
        size: number of learners, this one included.
        loss_scale: factors of this minibatch's losses that make a mean over learners one over their rows; those left
            out are 1.
        bad_losses: modules whose loss was not finite on another learner when gradients were averaged last.
    """

    rank: int
    size: int
    loss_scale: Mapping[str, float]
    bad_losses: Collection[str]

    def common(self, module_ids: Sequence[str], *chosen: Collection[str]) -> list[tuple[str, ...]]:
        """For each choice among ``module_ids``, those that every learner has chosen, in that order."""

    def plan(
        self,
        module_ids: Sequence[str],
        ready: dict[str, ModuleBatch],
        counts: Mapping[str, int],
        size: int | None,
        kind: Hashable = None,
    ) -> tuple[dict[str, ModuleBatch], int]:
        """Agree on the gradient steps of an update.

        Args:
            module_ids: of all modules, in the order that all learners have.
            ready: this learner's rows by module; none of them empty.
            counts: minibatches that each of its modules needs.
            size: rows of a minibatch; None is all of them.
            kind: of the first step: see ``step_kind`` of a learner.

        Returns:
            The modules that every learner has rows of, and the number of minibatches: the largest that any module of
            any learner needs.

        Raises:
            ConfigError: the learners are about to take steps of different kinds.
        """

    def gather_moments(self, moments: list[Tensor]) -> list[Tensor]:
        """Moments of observations, one tensor ``[D]`` each, as those of all learners, ``[size, D]`` each."""

    def mean(self, value: float) -> float:
        """The mean of a number over all learners."""

    def begin(self, minibatch: Mapping[str, ModuleBatch]) -> None:
        """Before a gradient step: say what this learner's minibatch weighs."""

    def average(self, gradients: ParamDict, losses: Mapping[str, Tensor], optimizers: OptimizerSet) -> ParamDict:
        """Gradients averaged over all learners, in place where they are.

        Args:
            gradients: parameter to gradient.
            losses: of this step, by module; one that is not finite is told to all.
            optimizers: step these gradients.
        """

    def end(self) -> None:
        """After a gradient step.

        Raises:
            ConfigError: it did not average its gradients, so learners would drift apart.
        """

    def leave(self) -> None:
        """Leave the group; whoever waits for this learner gets an error, and so does this one when it asks again."""


class Alone:
    """No other learners: every mean is one's own, every choice common.

    Attributes:
        rank: 0.
        size: 1.
        loss_scale: nothing.
        bad_losses: nothing.
    """

    rank, size = 0, 1
    loss_scale: Mapping[str, float] = {}
    bad_losses: Collection[str] = ()

    def common(self, module_ids: Sequence[str], *chosen: Collection[str]) -> list[tuple[str, ...]]:
        """What was chosen."""
        return [tuple(ids) for ids in chosen]

    def plan(
        self,
        module_ids: Sequence[str],
        ready: dict[str, ModuleBatch],
        counts: Mapping[str, int],
        size: int | None,
        kind: Hashable = None,
    ) -> tuple[dict[str, ModuleBatch], int]:
        """All that is ready, and as many minibatches as the largest module needs."""
        return ready, max(counts.values(), default=0)

    def gather_moments(self, moments: list[Tensor]) -> list[Tensor]:
        """Nothing to add."""
        return moments

    def mean(self, value: float) -> float:
        """The number."""
        return value

    def begin(self, minibatch: Mapping[str, ModuleBatch]) -> None:
        """Nothing to weigh."""

    def average(self, gradients: ParamDict, losses: Mapping[str, Tensor], optimizers: OptimizerSet) -> ParamDict:
        """The gradients as they are."""
        return gradients

    def end(self) -> None:
        """Nothing to check."""

    def leave(self) -> None:
        """Nobody to leave."""


def is_first(peers: Peers) -> int:
    """1 on the first learner of a group, else 0: what counts something that happens to all of them."""
    return int(peers.rank == 0)
