"""Acting networks as a plain list of layers, by torch or, on a handful of rows, by numpy."""

from __future__ import annotations

from rlkit_core.models.acting.plan import SMALL_ROWS, ActingPlan, SmallPlan
from rlkit_core.models.acting.rows import DistributionRows

__all__ = ["SMALL_ROWS", "ActingPlan", "DistributionRows", "SmallPlan"]
