"""Scaling rewards by the running deviation of the discounted return.

Source: Engstrom et al., "Implementation Matters in Deep RL", https://arxiv.org/abs/2005.12729, appendix A.2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlkit_core.data.gae import discounted_suffix_sum


class RewardScaler:
    """Divides rewards by the standard deviation of the discounted return seen so far; their mean is left alone.

    Args:
        gamma: discount of the return.
        epsilon: added to the variance.
    """

    def __init__(self, gamma: float, epsilon: float = 1e-8) -> None:
        self.gamma, self.epsilon = gamma, epsilon
        self._count, self._mean, self._m2 = 0.0, 0.0, 0.0
        self._open: Tensor | None = None

    def __call__(self, rewards: Tensor, dones: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Take a rollout in and return its scaled rewards.

        Args:
            rewards: ``[T, N]``.
            dones: ``[T, N]`` bool, the step ended its episode.
            lengths: ``[N]`` int64, so many rows of each column count, and its episode goes on with the next rollout
                unless the last of them is done; None: all do.

        Returns:
            ``[T, N]``, a new tensor.
        """
        if lengths is not None:
            return self._ragged(rewards, dones, lengths)
        if self._open is None or self._open.shape != rewards.shape[1:]:
            self._open = torch.zeros_like(rewards[0])
        self._open = self._open.to(rewards.device)
        returns = self._returns(rewards, dones, self._open)
        self._open = returns[-1] * (~dones[-1])
        return self._scaled(rewards, returns)

    def _ragged(self, rewards: Tensor, dones: Tensor, lengths: Tensor) -> Tensor:
        steps, columns = rewards.shape
        before = rewards.new_zeros(columns)
        if self._open is not None:  # there may be more columns than last time
            known = min(columns, len(self._open))
            before[:known] = self._open[:known].to(before.device)
        real = torch.arange(steps, device=rewards.device).unsqueeze(-1) < lengths
        returns = self._returns(torch.where(real, rewards, 0.0), dones, before)
        last = (lengths - 1).clamp(min=0).unsqueeze(0)
        after = (returns * ~dones).gather(0, last)[0]
        self._open = torch.where(lengths > 0, after, before)
        return self._scaled(rewards, returns[real])

    def _returns(self, rewards: Tensor, dones: Tensor, before: Tensor) -> Tensor:
        goes_on = torch.cat((torch.ones_like(dones[:1]), ~dones[:-1]))
        x_t = rewards.clone()
        x_t[0] += self.gamma * before
        # Forward in time is backward in flipped time: G_t = r_t + gamma * (not done before t) * G_{t-1}.
        return discounted_suffix_sum(x_t.flip(0), goes_on.to(x_t.dtype).mul(self.gamma).flip(0)).flip(0)

    def _scaled(self, rewards: Tensor, returns: Tensor) -> Tensor:
        if not returns.numel():
            return rewards.clone()
        self._merge(returns)
        scaled: Tensor = rewards / (self.variance + self.epsilon) ** 0.5
        return scaled

    @property
    def variance(self) -> float:
        """Variance of the discounted return over all steps seen."""
        return self._m2 / self._count if self._count else 1.0

    def _merge(self, values: Tensor) -> None:
        # Chan et al. 1979: merge the moments of two samples.
        values = values.double()
        count, mean = values.numel(), float(values.mean())
        delta, total = mean - self._mean, self._count + values.numel()
        self._m2 += float((values - mean).square().sum()) + delta**2 * self._count * count / total
        self._mean += delta * count / total
        self._count = total

    def get_state(self) -> dict[str, Any]:
        """Moments, and the returns of open episodes."""
        open_returns = None if self._open is None else self._open.cpu().clone()
        return {"count": self._count, "mean": self._mean, "m2": self._m2, "open": open_returns}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`get_state`."""
        self._count, self._mean, self._m2 = float(state["count"]), float(state["mean"]), float(state["m2"])
        open_returns = state.get("open")
        self._open = None if open_returns is None else torch.as_tensor(open_returns).clone()

    def reset_open(self) -> None:
        """Forget returns of episodes that have not ended (the envs are reset)."""
        self._open = None
