"""How large novelty is, as the deviation of its discounted return so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class ReturnScale:
    """Deviation of the discounted sum of novelty up to each step, over all steps so far.

    Sums go on over the ends of episodes, as what is new stays new (section 2.4 of the paper).

    Args:
        gamma: discount.
    """

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma
        self.count, self.mean, self.squares = 0.0, 0.0, 0.0
        self.open: Tensor | None = None

    def take_in(self, novelty: Tensor, mask: Tensor | None = None, *, fresh: bool = False) -> float:
        """Take a rollout in, and return the deviation with it; 1 before anything was new.

        Args:
            novelty: ``[T, N]``, at least 0.
            mask: ``[T, N]`` bool, rows that count; None: all do. Others leave a sum as it is.
            fresh: columns do not go on with those of the rollout before; nor do they where there are more or fewer.
        """
        if not bool(novelty.any()):
            return self.deviation
        total = self.open
        if total is None or fresh or total.shape != novelty.shape[1:]:
            total = torch.zeros_like(novelty[0])
        total = total.to(novelty.device)
        sums = []
        for t, new in enumerate(novelty):
            longer = self.gamma * total + new
            total = longer if mask is None else torch.where(mask[t], longer, total)
            sums.append(total)
        self.open = total
        together = torch.stack(sums)
        self._merge((together if mask is None else together[mask]).double())
        return self.deviation

    @property
    def deviation(self) -> float:
        """Of all sums so far."""
        deviation = math.sqrt(self.squares / self.count) if self.count else 0.0
        return deviation if deviation > 0.0 else 1.0

    def _merge(self, sums: Tensor) -> None:
        # Chan et al., 1979: the moments of two samples together.
        count, mean = sums.numel(), float(sums.mean())
        delta, total = mean - self.mean, self.count + count
        self.squares += float((sums - mean).square().sum()) + delta**2 * self.count * count / total
        self.mean += delta * count / total
        self.count = total

    def get_state(self) -> dict[str, Any]:
        """Moments, and the sums that go on."""
        moments = {"gamma": self.gamma, "count": self.count, "mean": self.mean, "squares": self.squares}
        return {**moments, "open": None if self.open is None else self.open.cpu().clone()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ReturnScale:
        """The scale of :meth:`get_state`."""
        scale = cls(float(state["gamma"]))
        scale.count, scale.mean, scale.squares = (float(state[name]) for name in ("count", "mean", "squares"))
        scale.open = None if state["open"] is None else torch.as_tensor(state["open"]).clone()
        return scale
