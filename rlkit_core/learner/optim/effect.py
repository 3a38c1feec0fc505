"""Says that an update changed no weight of a module that has a loss: gradients that go astray are silent otherwise."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from rlkit_core.learner.metrics import Metrics
from rlkit_core.learner.optim.optimizer_set import OptimizerSet
from rlkit_core.rl_module import MultiRLModule

_LOG = logging.getLogger(__name__)


class EffectCheck:
    """Looks once a module, at its first update.

    Args:
        learner_name: of its class, for the message.
    """

    def __init__(self, learner_name: str) -> None:
        self._learner_name = learner_name
        self._looked_at: set[str] = set()
        self._before: dict[str, list[tuple[nn.Parameter, Tensor]]] = {}

    def begin(self, module_ids: Collection[str], module: MultiRLModule, optimizers: OptimizerSet) -> None:
        """Keep the weights of modules that were not looked at yet.

        Args:
            module_ids: those with a loss in this update.
            module: all of them, by id.
            optimizers: those of the learner.
        """
        if self._looked_at.issuperset(module_ids):
            return
        stepped = {id(p) for p in optimizers.parameters}
        for module_id in module_ids:
            member = module[module_id]
            if module_id not in self._looked_at and isinstance(member, nn.Module):
                own = [p for p in member.parameters() if id(p) in stepped]
                self._before[module_id] = [(p, p.detach().clone()) for p in own]

    def end(
        self, losses: Mapping[str, Tensor], split: Collection[str], metrics: Metrics, optimizers: OptimizerSet
    ) -> None:
        """Compare, if there is anything to compare with, and say what is the same though it has a loss.

        Args:
            losses: of the last step, by module, as far as known.
            split: modules of which a loss without graph says nothing.
            metrics: those of the learner.
            optimizers: those of the learner.
        """
        for module_id, weights in self._before.items():
            if any(not torch.equal(parameter, before) for parameter, before in weights):
                self._looked_at.add(module_id)
                continue
            rates = [float(g["lr"]) for r in optimizers.of(module_id) for g in r.optimizer.param_groups]
            if (rates and not any(rates)) or metrics.peek((module_id, "num_nonfinite_updates_lifetime"), default=0.0):
                continue  # nothing was to change; the next update will tell
            self._looked_at.add(module_id)
            loss = losses.get(module_id)
            if weights and (loss is None or loss.requires_grad or module_id in split):
                _LOG.warning(
                    "%s: the first update of module %r changed none of its parameters, though it has a loss. Its "
                    "gradients are all zero, or an override of compute_gradients(), postprocess_gradients() or "
                    "apply_gradients() leaves them out; learner.params_of(%r, name) are what an optimizer steps",
                    self._learner_name,
                    module_id,
                    module_id,
                )
        self._before.clear()
