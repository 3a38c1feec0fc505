"""Preallocated storage of a runner: numpy rows that envs write, torch views of the same memory that modules read."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from rlkit_core.data.nested import Nested, leaves, map_leaves, storage
from rlkit_core.envs.checks.leaves import LeafChecks
from rlkit_core.spaces import nested_map

Array = np.ndarray[Any, Any]


class RolloutBuffers:
    """Arrays of one rollout of T steps in N envs.

    Every row is sliced once, here, so the step loop indexes lists instead of slicing arrays.

    Attributes:
        obs: ``[T + 1, N, ...]`` torch views, nested as the space is; arrays of objects ``[T + 1, N]`` for leaves that
            have no fixed array.
        obs_rows: ``T + 1`` numpy row blocks ``[N, ...]``; envs write here.
        obs_inputs: the same blocks as torch tensors; modules read here.
        obs_steps: the first T of them together, ``[T, N, ...]``.
        rewards, terminateds, truncateds: ``[T, N]`` numpy; ``*_rows`` are their rows, ``*_tensor`` are the same as
            torch tensors.
        obs_after: what followed each step, ``[T, N, ...]`` numpy.
        raw_actions: of each step, as numpy sees them.
        sent: the same as the envs got them.
        device: where tensors are.
    """

    device = torch.device("cpu")

    def __init__(self, observation_space: gym.Space[Any], num_steps: int, num_envs: int) -> None:
        self.num_steps, self.num_envs = num_steps, num_envs
        arrays = storage(observation_space, (num_steps + 1, num_envs))
        self.obs: Nested = nested_map(lambda a: a if a.dtype == object else torch.from_numpy(a), arrays)
        self.obs_rows = [nested_map(lambda a, t=t: a[t], arrays) for t in range(num_steps + 1)]
        self.obs_inputs = [map_leaves(lambda a, t=t: a[t], self.obs) for t in range(num_steps + 1)]
        self.obs_steps: Nested = map_leaves(lambda a: a[:-1], self.obs)
        self.obs_after: Nested = nested_map(lambda a: a[1:], arrays)
        self._first_and_last = list(zip(leaves(self.obs_rows[0]), leaves(self.obs_rows[-1]), strict=True))
        checks = zip(LeafChecks(observation_space).each, leaves(arrays), strict=True)
        self._checks = [(check.holds, leaf) for check, leaf in checks if check is not None]
        self.rewards = np.zeros((num_steps, num_envs), np.float32)
        self.terminateds = np.zeros((num_steps, num_envs), np.bool_)
        self.truncateds = np.zeros((num_steps, num_envs), np.bool_)
        self.reward_rows = list(self.rewards)
        self.terminated_rows = list(self.terminateds)
        self.truncated_rows = list(self.truncateds)
        self.rewards_tensor = torch.from_numpy(self.rewards)
        self.terminateds_tensor = torch.from_numpy(self.terminateds)
        self.truncateds_tensor = torch.from_numpy(self.truncateds)
        self.raw_actions: list[Nested] = [None] * num_steps
        self.sent: list[Nested] = [None] * num_steps
        self._outputs: dict[str, Nested] = {}
        self._blocks: dict[str, tuple[Tensor, list[Array]]] = {}

    def carry_over(self) -> None:
        """Make the observation after the last rollout the first of the next."""
        for first, last in self._first_and_last:
            first[...] = last

    def well(self, start: int, stop: int) -> bool:
        """Whether rewards of the steps ``start:stop``, and the observations after them, have finite squares' sums, and
        choices are those that there are.
        """
        rewards = self.rewards[start:stop].ravel()
        if not math.isfinite(rewards.dot(rewards)):
            return False
        for holds, leaf in self._checks:  # a loop: this is asked after every few steps  # noqa: SIM110
            if not holds(leaf[start + 1 : stop + 1]):
                return False
        return True

    def readable(self) -> RolloutBuffers:
        """Itself, or a copy with numpy rows, for who looks for what is wrong in them."""
        return self

    def continue_from(self, other: RolloutBuffers) -> None:
        """Take over the observation after the last rollout from a buffer of another length."""
        for last, others in zip(leaves(self.obs_rows[-1]), leaves(other.obs_rows[-1]), strict=True):
            last[...] = others

    def stack_rows(self, name: str, rows: list[Array]) -> Tensor:
        """:meth:`stack_output` for T numpy arrays."""
        block = self._blocks.get(name)
        if block is None:
            array = np.empty((self.num_steps, *rows[0].shape), rows[0].dtype)
            block = self._blocks[name] = torch.from_numpy(array), list(array)
        for place, row in zip(block[1], rows, strict=True):
            place[...] = row
        return block[0]

    def stack_output(self, name: str, steps: list[Nested]) -> Nested:
        """Put T module outputs ``[N, ...]`` into this buffer's ``[T, N, ...]`` column ``name`` and return it."""
        column = self._outputs.get(name)
        if column is None:
            column = map_leaves(
                lambda x: torch.empty((self.num_steps, *x.shape), dtype=x.dtype, device=x.device), steps[0]
            )
            self._outputs[name] = column

        def put(out: Tensor, *rows: Tensor) -> None:
            torch.stack(rows, out=out)

        map_leaves(put, column, *steps)
        return column
