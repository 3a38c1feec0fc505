"""The actions that a Q network has one output each for."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from rlkit_core.distributions.base import joined_mask
from rlkit_core.errors import ConfigError

#: Largest joint table of a MultiDiscrete action space.
MAX_TABLE = 1000


class ActionTable(nn.Module):
    """Actions of a Discrete or MultiDiscrete space, numbered from 0 to A - 1.

    A MultiDiscrete space is one table of all combinations, the last component changing fastest. Raw actions, which
    rollouts hold, are those of every algorithm: ``(...)`` int64 counted from 0, or ``(..., K)`` int64.

    Args:
        space: the action space.

    Attributes:
        size: A.

    Raises:
        ConfigError: the space is of another kind, or has more than :data:`MAX_TABLE` combinations.
    """

    strides: Tensor
    nvec: Tensor
    columns: Tensor

    def __init__(self, space: gym.Space[Any]) -> None:
        super().__init__()
        self.joint = isinstance(space, gym.spaces.MultiDiscrete)
        if isinstance(space, gym.spaces.Discrete):
            self.size = int(space.n)
            return
        if not isinstance(space, gym.spaces.MultiDiscrete):
            raise ConfigError(
                f"DQN: action space {space}: a Q network has one output per action, so it must be Discrete or "
                "MultiDiscrete. For others use an algorithm with a policy (rlkit train ppo ...), or wrap the env so "
                "that it offers a finite choice"
            )
        nvec = space.nvec.reshape(-1).astype(np.int64)
        self.size = int(np.prod(nvec))
        if self.size > MAX_TABLE or np.prod(nvec.astype(np.float64)) > MAX_TABLE:
            raise ConfigError(
                f"DQN: action space {space} has {np.prod(nvec.astype(np.float64)):.0f} combinations, and a Q network "
                f"has one output for each; at most {MAX_TABLE} are allowed. Use an algorithm with a policy "
                "(rlkit train ppo ...), or wrap the env so that it offers fewer"
            )
        strides = np.append(np.cumprod(nvec[:0:-1])[::-1], 1)
        entries = np.stack(np.unravel_index(np.arange(self.size), tuple(nvec)), -1)  # [A, K]
        first = np.append(0, np.cumsum(nvec)[:-1])  # of each component in a mask [sum(nvec)]
        for name, array in (("strides", strides), ("nvec", nvec), ("columns", (entries + first).reshape(-1))):
            self.register_buffer(name, torch.from_numpy(array.astype(np.int64).copy()), persistent=False)

    def index(self, actions: Tensor) -> Tensor:
        """Numbers ``(...)`` int64 of raw actions."""
        if not self.joint:
            return actions if actions.dtype is torch.int64 else actions.long()
        return (actions.long() * self.strides).sum(-1)

    def actions(self, index: Tensor) -> Tensor:
        """Raw actions of numbers ``(...)``."""
        if not self.joint:
            return index
        return index.unsqueeze(-1).div(self.strides, rounding_mode="floor").remainder(self.nvec)

    def legal(self, mask: Tensor) -> Tensor:
        """``(..., A)`` bool from an ``action_mask``, ``(..., n)`` or ``(..., sum(nvec))``, or a tuple of masks.

        Raises:
            ConfigError: the mask is of another width.
        """
        mask = joined_mask(mask)
        legal = mask if mask.dtype is torch.bool else mask > 0
        wanted = int(self.nvec.sum()) if self.joint else self.size
        if legal.shape[-1] != wanted:
            raise ConfigError(f"DQN: action_mask: expected {wanted} entries, got shape {tuple(mask.shape)}")
        if not self.joint:
            return legal
        parts = legal.index_select(-1, self.columns).unflatten(-1, (self.size, self.nvec.shape[0]))
        return parts.all(-1)
