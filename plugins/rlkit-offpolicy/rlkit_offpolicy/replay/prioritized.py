"""The prioritised replay buffer.

Source of the maths: Schaul et al., "Prioritized Experience Replay", https://arxiv.org/abs/1511.05952: proportional
prioritisation (equation 1), importance weights (section 3.4), stratified sampling (appendix B.2.1). For sequences:
Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement Learning" (2019), section 2.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlkit_core.data.nested import Nested
from rlkit_core.errors import ConfigError, NonFiniteError
from rlkit_core.seeding import SeedTree
from rlkit_offpolicy.replay.buffer import ReplayBuffer
from rlkit_offpolicy.replay.ring import Added, ReplayStorage
from rlkit_offpolicy.replay.rows import Array, as_array, ring_slices
from rlkit_offpolicy.replay.sampling import WEIGHTS
from rlkit_offpolicy.replay.sum_tree import SumTree


class PrioritizedReplayBuffer(ReplayBuffer):
    """A :class:`ReplayBuffer` that samples a step with a probability in proportion to its priority.

    ``P(i) = p_i ** alpha / sum_k p_k ** alpha``. New steps have the highest priority seen so far, so that each is soon
    sampled. A batch is stratified: its i-th row comes from the i-th of ``batch_size`` equal parts of the
    priorities' sum. Importance weights are ``(len(buffer) * P(i)) ** -beta``, divided by the largest in the same
    call's batch, so that they only ever make a step smaller.

    Sequences are drawn by the priority of their first step.

    Args:
        alpha: how much priorities count, at least 0 (uniform).
        epsilon: added to every priority, so that none is zero.

    Attributes:
        max_priority: the highest priority so far, 1 at first.
    """

    def __init__(
        self,
        capacity: int,
        *,
        alpha: float = 0.6,
        epsilon: float = 1e-6,
        n_step: int | tuple[int, int] = 1,
        gamma: float = 0.99,
        seed: SeedTree | int | None = None,
        columns: Sequence[str] = (),
    ) -> None:
        super().__init__(capacity, n_step=n_step, gamma=gamma, seed=seed, columns=columns)
        if alpha < 0.0:
            raise ConfigError(f"alpha={alpha!r}: expected a number of at least 0 (0 samples uniformly)")
        if epsilon <= 0.0:
            raise ConfigError(f"epsilon={epsilon!r}: expected a positive number: no priority may be zero")
        self.alpha, self.epsilon = float(alpha), float(epsilon)
        self.max_priority = 1.0
        self._tree = SumTree(1)
        self._drawn_from = 0.0  # sum and number of what the last batch was drawn from
        self._drawn_of = 0

    def update_priorities(self, priorities: Tensor, indices: Tensor | None = None) -> None:
        """Give rows new priorities.

        Args:
            priorities: ``[B]``, such as TD errors; their absolute values count, plus ``epsilon``.
            indices: ``[B]`` int64, which rows, as in ``last_indices``; those of the last :meth:`sample` unless given.
                Rows that have been overwritten since are passed over.

        Raises:
            ConfigError: nothing has been sampled, or the lengths differ.
            NonFiniteError: a priority is NaN or infinite.
        """
        if indices is None:
            indices = self.last_indices
        storage = self._storage
        if indices is None or storage is None:
            raise ConfigError("update_priorities: nothing has been sampled yet; call sample() first, or give indices")
        values = np.abs(as_array(priorities)).astype(np.float64)
        numbers = as_array(indices)
        if values.shape != numbers.shape:
            raise ConfigError(
                f"update_priorities: {tuple(values.shape)} priorities for {tuple(numbers.shape)} rows; expected one "
                "for each row (of sequences see sequence_priorities)"
            )
        values += self.epsilon
        highest = float(values.max(initial=0.0))
        if not np.isfinite(highest):
            raise NonFiniteError(
                f"update_priorities: {int((~np.isfinite(values)).sum())} of {values.size} priorities are NaN or "
                "infinite; the loss they come from has diverged"
            )
        self.max_priority = max(self.max_priority, highest)
        places = numbers % storage.size
        fresh = (numbers >= storage.oldest_number) & (self._tree.leaves[places] > 0.0)
        if not fresh.all():
            places, values = places[fresh], values[fresh]
        self._tree.set(places, values**self.alpha)

    def _on_add(self, storage: ReplayStorage, added: Added) -> None:
        if self._tree.size != storage.size:
            self._tree = SumTree(storage.size)
        value = self.max_priority**self.alpha
        values = np.full(added.count + storage.num_envs, value)
        if added.valid is not None:
            values[: added.count] *= added.valid
        values[added.count :] = 0.0  # the head holds no step
        done = 0
        for part in ring_slices(added.at, len(values), storage.size):
            count = part.stop - part.start
            self._tree.set_range(part.start, part.stop, values[done : done + count])
            done += count

    def _draw(self, storage: ReplayStorage, batch_size: int, num_batches: int) -> Array:
        places, self._drawn_from = self._tree.find(self._strata(batch_size, num_batches))
        self._drawn_of = storage.num_valid
        return places

    def _draw_from(self, storage: ReplayStorage, starts: Array, batch_size: int, num_batches: int) -> Array:
        sums = self._tree.leaves[starts].cumsum()
        self._drawn_from, self._drawn_of = float(sums[-1]), len(starts)
        targets = self._strata(batch_size, num_batches) * self._drawn_from
        picked: Array = starts[np.minimum(np.searchsorted(sums, targets, side="right"), len(starts) - 1)]
        return picked

    def _strata(self, batch_size: int, num_batches: int) -> Array:
        """Numbers in [0, 1), each batch's spread over the whole range."""
        points = self._rng.random((num_batches, batch_size))
        points += np.arange(batch_size)
        points /= batch_size
        return points.reshape(-1)

    def _finish(
        self, storage: ReplayStorage, batch: dict[str, Nested], places: Array, batch_size: int, beta: float
    ) -> None:
        super()._finish(storage, batch, places, batch_size, beta)
        probability = self._tree.leaves[places] / self._drawn_from
        weights = (probability * self._drawn_of) ** -beta
        weights /= weights.max()
        column: Tensor = batch[WEIGHTS]
        values = torch.from_numpy(weights)
        column.copy_(values if column.dim() == 1 else values.unsqueeze(-1))

    def get_metrics(self) -> dict[str, Any]:
        """Counters, how full the buffer is, and the highest priority."""
        return {**super().get_metrics(), "max_priority": self.max_priority}

    def _state(self, storage: dict[str, Any] | None, segments: list[dict[str, Any]]) -> dict[str, Any]:
        """The uniform buffer's, and the priorities, which any update may change."""
        return {
            **super()._state(storage, segments),
            "priorities": torch.from_numpy(self._tree.leaves.copy()),
            "max_priority": self.max_priority,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`get_state` of a buffer with the same settings."""
        super().set_state(state)
        priorities = as_array(torch.as_tensor(state["priorities"]))
        self._tree = SumTree(len(priorities))
        self._tree.set_range(0, len(priorities), priorities)
        self.max_priority = float(state["max_priority"])


def sequence_priorities(td_errors: Tensor, loss_mask: Tensor, eta: float = 0.9) -> Tensor:
    """Priorities of sequences from the TD errors of their steps: ``eta * max + (1 - eta) * mean`` of absolute values.

    Source: Kapturowski et al. 2019, section 2.3.

    Args:
        td_errors: ``[B, L]`` float.
        loss_mask: ``[B, L]`` bool, steps that count; at least one in each row.
        eta: share of the maximum, in [0, 1].

    Returns:
        ``[B]`` float.
    """
    errors = torch.where(loss_mask, td_errors.detach().abs(), 0.0)
    return eta * errors.amax(1) + (1.0 - eta) * errors.sum(1) / loss_mask.sum(1).clamp(min=1)
