"""Looks whether losses and gradients are finite, counts those that are not, and says what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Protocol

import torch
from torch import Tensor

from rlkit_core.columns import ALL_MODULES
from rlkit_core.errors import NonFiniteError
from rlkit_core.learner.metrics import Metrics
from rlkit_core.learner.optim.clipping import ParamDict, global_norm
from rlkit_core.learner.peers import Peers, is_first
from rlkit_core.rl_module import MultiRLModule


class CheckedLearner(Protocol):
    """What the check asks of its learner.

    Attributes:
        metrics: where counts go.
        peers: tell which losses were not finite elsewhere.
        weights_seq_no: the number of updates so far.
        module: its modules, by id.
    """

    metrics: Metrics
    peers: Peers
    weights_seq_no: int

    @property
    def module(self) -> MultiRLModule:
        """The modules, by id."""


class FiniteCheck:
    """The non-finite check of one learner's gradient steps.

    Args:
        learner: whose steps they are.

    Attributes:
        reads_values: whether tensors are looked at. While a step is recorded they are not, and everything counts as
            finite; whoever records checks when the step is replayed.
        losses: of the step under way, by module; of a finished step they are empty or detached.
        split: modules whose loss has one entry for each optimizer, of which the sum is in ``losses``, without graph.
    """

    def __init__(self, learner: CheckedLearner) -> None:
        self._learner = learner
        self.reads_values = True
        self.losses: Mapping[str, Tensor] = {}
        self.split: Collection[str] = ()

    def is_finite(self, value: Tensor) -> bool:
        """Whether a 0-dim tensor is finite; the one place where a gradient step waits for the device."""
        return not self.reads_values or math.isfinite(value.item())

    def bad_loss(self, module_id: str) -> str | None:
        """The module whose loss is not finite: ``module_id``, or any for ``ALL_MODULES``; None if all is well."""
        elsewhere = self._learner.peers.bad_losses
        for key in self.losses if module_id == ALL_MODULES else (module_id,):
            loss = self.losses.get(key)
            if key in elsewhere or (loss is not None and not self.is_finite(loss)):
                return key
        return None

    def zero(self, module_id: str, gradients: ParamDict, *, counted: bool) -> None:
        """Set elements that are not finite to zero, so that clipping sees the others as they are.

        Args:
            module_id: whose gradients these are.
            gradients: are changed in place.
            counted: this minibatch is counted already.
        """
        if self.is_finite(global_norm(gradients.values())):
            return
        if not counted:
            self.report(module_id, gradients, "zero")
        for gradient in gradients.values():
            gradient.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)

    def report(self, module_id: str, gradients: ParamDict, what: str) -> None:
        """Count a minibatch of a module whose loss or gradients are not finite.

        Args:
            module_id: the module.
            gradients: its gradients.
            what: ``on_nonfinite`` of that module.

        Raises:
            NonFiniteError: ``what`` is ``"raise"``.
        """
        learner = self._learner
        learner.metrics.log_value(
            (module_id, "num_nonfinite_updates_lifetime"), is_first(learner.peers), reduce="lifetime_sum"
        )
        if what != "raise":
            return
        loss = self.losses.get(module_id)
        names = parameter_names(learner.module)
        bad = [names.get(id(p), "?") for p, g in gradients.items() if not bool(torch.isfinite(g).all())]
        reasons, elsewhere = [], False
        if loss is not None and not math.isfinite(loss.item()):
            reasons.append(f"the loss is {loss.item()}")
        elif module_id in learner.peers.bad_losses:
            reasons.append("the loss of another learner is not finite")
            elsewhere = True
        if bad or not reasons:
            more = f" and {len(bad) - 4} more" if len(bad) > 4 else ""
            reasons.append(f"NaN or infinite gradients in {', '.join(bad[:4]) or 'their joint norm'}{more}")
        error = NonFiniteError(
            f"update {learner.weights_seq_no + 1}, module {module_id!r}: {'; '.join(reasons)}. The weights are "
            "unchanged by this minibatch. Lower the learning rate, set grad_clip, or set on_nonfinite='skip' or 'zero'"
        )
        error.module_id, error.of_another_learner = module_id, elsewhere
        raise error


def parameter_names(module: MultiRLModule) -> dict[int, str]:
    """``"module_id.name"`` of every parameter, by its identity."""
    return {id(p): f"{mid}.{name}" for mid, name, p in module.unique_parameters()}
