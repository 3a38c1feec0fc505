"""Modules without parameters: they act and are never trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rlkit_core.columns import Columns
from rlkit_core.rl_module.torch_module import TorchRLModule
from rlkit_core.spaces import nested_map


class RandomRLModule(TorchRLModule):
    """Uniformly random actions of any action space, in env units already."""

    def _forward(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        space: Any = self.action_space
        rows = batch_size(batch[Columns.OBS])
        return {Columns.ACTIONS: _stacked([space.sample() for _ in range(rows)])}

    def actions_to_env(self, actions: Any) -> Any:
        """The actions as they are."""
        return actions


class CartPoleHeuristicRLModule(TorchRLModule):
    """Pushes the cart towards the side to which the pole falls; balances CartPole for about 200 steps."""

    def _forward(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        obs = batch[Columns.OBS]
        return {Columns.ACTIONS: (obs[..., 2] + 0.5 * obs[..., 3] > 0).long()}


def batch_size(obs: Any) -> int:
    """Rows of a (nested) batch of observations."""
    sizes: list[int] = []
    nested_map(lambda leaf: sizes.append(int(leaf.shape[0])), obs)
    return sizes[0]


def _stacked(samples: list[Any]) -> Any:
    first = samples[0]
    if isinstance(first, dict):
        return {key: _stacked([sample[key] for sample in samples]) for key in first}
    if isinstance(first, tuple):
        return tuple(_stacked([sample[index] for sample in samples]) for index in range(len(first)))
    return torch.from_numpy(np.stack([np.asarray(sample) for sample in samples]))
