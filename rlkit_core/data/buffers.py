"""Preallocated storage of a runner: numpy rows that envs write, torch views of the same memory that modules read."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from rlkit_core.data.nested import Nested, map_leaves
from rlkit_core.data.storage import storage
from rlkit_core.spaces import nested_map


class RolloutBuffers:
    """Arrays of one rollout of T steps in N envs.

    Every row is sliced once, here, so the step loop indexes lists instead of slicing arrays.

    Attributes:
        obs: ``[T + 1, N, ...]`` torch views, nested as the space is; arrays of objects ``[T + 1, N]`` for leaves that
            have no fixed array.
        obs_rows: ``T + 1`` numpy row blocks ``[N, ...]``; envs write here.
        obs_inputs: the same blocks as torch tensors; modules read here.
        rewards, terminateds, truncateds: ``[T, N]`` numpy; ``*_rows`` are their rows.
    """

    def __init__(self, observation_space: gym.Space[Any], num_steps: int, num_envs: int) -> None:
        self.num_steps, self.num_envs = num_steps, num_envs
        arrays = storage(observation_space, (num_steps + 1, num_envs))
        self.obs: Nested = nested_map(lambda a: a if a.dtype == object else torch.from_numpy(a), arrays)
        self.obs_rows = [nested_map(lambda a, t=t: a[t], arrays) for t in range(num_steps + 1)]
        self.obs_inputs = [map_leaves(lambda a, t=t: a[t], self.obs) for t in range(num_steps + 1)]
        self.rewards = np.zeros((num_steps, num_envs), np.float32)
        self.terminateds = np.zeros((num_steps, num_envs), np.bool_)
        self.truncateds = np.zeros((num_steps, num_envs), np.bool_)
        self.reward_rows = list(self.rewards)
        self.terminated_rows = list(self.terminateds)
        self.truncated_rows = list(self.truncateds)
        self._outputs: dict[str, Nested] = {}

    def carry_over(self) -> None:
        """Make the observation after the last rollout the first of the next."""
        nested_map(np.copyto, self.obs_rows[0], self.obs_rows[-1])

    def stack_output(self, name: str, steps: list[Nested]) -> Nested:
        """Put T module outputs ``[N, ...]`` into this buffer's ``[T, N, ...]`` column ``name`` and return it."""
        column = self._outputs.get(name)
        if column is None:
            column = map_leaves(lambda x: torch.empty((self.num_steps, *x.shape), dtype=x.dtype), steps[0])
            self._outputs[name] = column

        def put(out: Tensor, *rows: Tensor) -> None:
            torch.stack(rows, out=out)

        map_leaves(put, column, *steps)
        return column
