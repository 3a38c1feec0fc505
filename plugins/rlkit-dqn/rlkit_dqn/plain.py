"""Networks of plain layers, run without what modules do around each other.

An update of a small network takes as long between its layers as in them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlkit_core.models import ActingPlan, run_plan
from rlkit_dqn.q_learning import dueling_q


class PlainNetworks:
    """An encoder and its heads, where all of them are plain MLPs; made by :meth:`of`."""

    def __init__(self, plan: ActingPlan, encoder: Any, af: Any, vf: Any) -> None:
        self._plan, self._encoder, self._af, self._vf = plan, encoder, af, vf

    @classmethod
    def of(cls, encoder: Any, af: Any, vf: Any) -> PlainNetworks | None:
        """The networks, or None where one is of another kind."""
        plan = ActingPlan.of(encoder, af)
        if plan is None or not plan.is_bare or (vf is not None and ActingPlan.of(encoder, vf) is None):
            return None
        return cls(plan, encoder, af, vf)

    def serve(self, obs: Any, encoder: Any, af: Any, vf: Any) -> bool:
        """Whether they stand for these modules, to which nobody listens by a hook, and take such observations."""
        if vf is not self._vf or obs.dtype is not torch.float32 or not self._plan.holds(encoder, af):
            return False
        return vf is None or not (vf._forward_hooks or vf._forward_pre_hooks)

    def q(self, obs: Tensor) -> Tensor:
        """Values ``(B, A)`` of float32 observations ``(B, D)``."""
        if self._vf is None:
            return run_plan(self._plan.layers, obs)
        embeddings = run_plan(self._encoder.plan, obs)
        return dueling_q(run_plan(self._vf.plan, embeddings), run_plan(self._af.plan, embeddings))
