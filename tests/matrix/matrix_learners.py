"""Learners with a loss of their own: each algorithm's, and a penalty on what the module gives."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rlkit_core import Learner, get_algorithm_config


class _Penalised(Learner):
    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        penalty = sum(p.square().sum() for p in self.module[module_id].parameters() if p.requires_grad)
        assert isinstance(penalty, Tensor)
        self.metrics.log_value((module_id, "penalty"), penalty)
        return loss + 1e-3 * penalty


def _penalised(algorithm: str) -> type[Learner]:
    """A class of this file, found by its name wherever a config is unpickled."""
    base = get_algorithm_config(algorithm).get_default_learner_class()
    made = type(f"Penalised{base.__name__}", (_Penalised, base), {"__module__": __name__})
    globals()[made.__name__] = made
    return made


OWN_LOSS = {algorithm: _penalised(algorithm) for algorithm in ("ppo", "impala", "appo", "dqn")}
