"""Storage of a rollout whose envs return torch tensors, on their device; nothing goes through numpy at a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from rlkit_core.data.nested import Nested, index_rows, leaves, map_leaves
from rlkit_core.distributions.tensor_units import torch_dtype
from rlkit_core.envs.checks.leaves import IsAChoice, LeafCheck, LeafChecks
from rlkit_core.envs.rollout_buffers import RolloutBuffers
from rlkit_core.spaces import map_space

Cut = tuple[Tensor, Nested]
"""Of the episodes that one step truncated, envs ``[K]`` and last observations ``[K, ...]``."""


class TensorBuffers(RolloutBuffers):
    """As :class:`RolloutBuffers`, with tensors in the place of numpy rows.

    :attr:`rewards`, :attr:`terminateds` and :attr:`truncateds` are filled by :meth:`fetch`, once a rollout.

    Attributes:
        finals: last observations of truncated episodes ``[K, ...]`` and their places ``t * N + n``; see :meth:`fetch`.

    Args:
        observation_space: of one env; all of its leaves have arrays.
        num_steps, num_envs: T and N.
        device: where tensors are.
    """

    def __init__(self, observation_space: gym.Space[Any], num_steps: int, num_envs: int, device: torch.device) -> None:
        self.num_steps, self.num_envs, self.device = num_steps, num_envs, device
        lead = (num_steps + 1, num_envs)

        def room(leaf: gym.Space[Any]) -> Tensor:
            assert leaf.shape is not None
            return torch.zeros((*lead, *leaf.shape), dtype=torch_dtype(leaf.dtype), device=device)

        self.obs = map_space(room, observation_space)
        self.obs_rows = [map_leaves(lambda x, t=t: x[t], self.obs) for t in range(num_steps + 1)]
        self.obs_inputs = self.obs_rows
        self.obs_steps = map_leaves(lambda x: x[:-1], self.obs)
        self.obs_after = map_leaves(lambda x: x[1:], self.obs)
        checks = zip(LeafChecks(observation_space).each, leaves(self.obs), strict=True)
        self._tensor_checks = [(_holding(check, device), leaf) for check, leaf in checks if check is not None]
        self.rewards_tensor = torch.zeros((num_steps, num_envs), device=device)
        self.terminateds_tensor = torch.zeros((num_steps, num_envs), dtype=torch.bool, device=device)
        self.truncateds_tensor = torch.zeros_like(self.terminateds_tensor)
        rows: Any = (self.rewards_tensor, self.terminateds_tensor, self.truncateds_tensor)
        self.reward_rows, self.terminated_rows, self.truncated_rows = (list(part) for part in rows)
        self.rewards = np.zeros((num_steps, num_envs), np.float32)
        self.terminateds = np.zeros((num_steps, num_envs), np.bool_)
        self.truncateds = np.zeros((num_steps, num_envs), np.bool_)
        self.raw_actions = [None] * num_steps
        self.sent = [None] * num_steps
        self._outputs = {}
        self.finals: tuple[Nested, Tensor] | None = None

    def carry_over(self) -> None:
        """Make the observation after the last rollout the first of the next."""
        map_leaves(lambda first, last: first.copy_(last), self.obs_rows[0], self.obs_rows[-1])

    def continue_from(self, other: RolloutBuffers) -> None:
        """Take over the observation after the last rollout from a buffer of another length."""
        map_leaves(lambda last, others: last.copy_(others), self.obs_rows[-1], other.obs_rows[-1])

    def well(self, start: int, stop: int) -> bool:
        """See :meth:`RolloutBuffers.well`; the device is waited for once."""
        looks = [torch.isfinite(self.rewards_tensor[start:stop]).all()]
        looks += [holds(leaf[start + 1 : stop + 1]) for holds, leaf in self._tensor_checks]
        return bool(torch.stack(looks).all())

    def readable(self) -> RolloutBuffers:
        """A copy with numpy rows, for who looks for what is wrong in them."""
        copied = RolloutBuffers.__new__(RolloutBuffers)
        copied.obs_rows = [numpy_of(row) for row in self.obs_rows]
        copied.reward_rows = list(self.rewards_tensor.cpu().numpy())
        copied.raw_actions = [None if row is None else numpy_of(row) for row in self.raw_actions]
        return copied

    def fetch(self, cuts: Sequence[Cut | None], *, same_step: bool) -> bool:
        """A rollout is complete: bring rewards and flags to the CPU, and put last observations together.

        Args:
            cuts: of each step, if there were any; None of one that did not tell what truncated episodes showed last: it
                is taken from the row before the reset, where the episode's last action was chosen.
            same_step: envs reset in the step that ends their episode; otherwise last observations have rows.

        Returns:
            Whether a step did not tell.
        """
        for array, tensor in (
            (self.rewards, self.rewards_tensor),
            (self.terminateds, self.terminateds_tensor),
            (self.truncateds, self.truncateds_tensor),
        ):
            array[...] = tensor.cpu().numpy()
        self.finals = None
        places: list[Tensor] = []
        parts: list[Nested] = []
        untold, cut = False, self.truncateds & ~self.terminateds
        for t in np.flatnonzero(cut.any(1)).tolist() if same_step else ():
            told = cuts[t]
            if told is None:
                untold = True
                envs = torch.from_numpy(np.flatnonzero(cut[t])).to(self.device)
                told = envs, index_rows(self.obs_rows[t], envs)
            places.append(t * self.num_envs + told[0])
            parts.append(told[1])
        if places:
            self.finals = map_leaves(lambda *rows: torch.cat(rows), *parts), torch.cat(places)
        return untold

    def bad_finals(self) -> list[tuple[int, Nested]]:
        """Those of the last observations that are NaN or infinite, ``[(t * N + n, observation), ...]``, as arrays."""
        if self.finals is None:
            return []
        rows, places = self.finals
        floats = [leaf for leaf in leaves(rows) if leaf.is_floating_point()]
        if not floats or bool(torch.stack([torch.isfinite(leaf).all() for leaf in floats]).all()):
            return []
        arrays = numpy_of(rows)
        return [(at, map_leaves(lambda x, k=k: x[k], arrays)) for k, at in enumerate(places.tolist())]


def _holding(check: LeafCheck, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What says of a tensor whether a check holds, as a tensor on its device."""
    if not isinstance(check, IsAChoice):
        return lambda values: torch.isfinite(values).all()
    first = torch.as_tensor(0 if check.start is None else check.start, device=device)
    counts = torch.as_tensor(check.counts.astype(np.int64), device=device)

    def holds(values: Tensor) -> Tensor:
        from_first = values.long() - first
        return ((from_first >= 0) & (from_first < counts)).all()

    return holds


def numpy_of(struct: Nested) -> Nested:
    """Tensors as numpy arrays."""
    return map_leaves(lambda x: x.detach().cpu().numpy() if isinstance(x, Tensor) else x, struct)
