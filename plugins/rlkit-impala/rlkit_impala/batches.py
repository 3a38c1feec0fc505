"""From rollouts to train batches: gathered until they are enough, and queued until the learner has time."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from rlkit_core.data import Rollout

#: What one update learns from: rollouts by module, in the order in which they came.
Batch = dict[str, list[Rollout]]


def num_steps(rollouts: dict[str, Rollout]) -> int:
    """Env steps of one sample; rows that a reset mode masks count, so that batches are all of one size."""
    return max(rollout.num_steps * rollout.num_envs for rollout in rollouts.values())


class Gatherer:
    """Puts rollouts together to batches of about ``batch_size`` env steps.

    A batch is a whole number of rollouts, that which comes nearest to ``batch_size``. A rollout of several times that
    size is divided along its envs.

    Args:
        batch_size: env steps.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._open: Batch = {}
        self._steps = 0

    def add(self, rollouts: dict[str, Rollout]) -> list[Batch]:
        """Take in one sample; the batches that it completes."""
        size = num_steps(rollouts)
        parts = min(round(size / self._batch_size), min(r.num_envs for r in rollouts.values()))
        if parts > 1:
            cut = {module_id: rollout.split(parts) for module_id, rollout in rollouts.items()}
            return [{mid: [pieces[k]] for mid, pieces in cut.items()} for k in range(parts)]
        for module_id, rollout in rollouts.items():
            self._open.setdefault(module_id, []).append(rollout)
        self._steps += size
        if self._steps + size / 2 < self._batch_size:
            return []
        batch = self._open
        self.clear()
        return [batch]

    def clear(self) -> int:
        """Forget what is not a batch yet; the number of its env steps."""
        steps, self._steps, self._open = self._steps, 0, {}
        return steps


class BatchQueue:
    """Batches in the order in which they came; where there is no room, the oldest goes.

    Args:
        size: how many may wait.

    Attributes:
        num_steps_dropped: env steps of batches that were never learned from.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._batches: deque[Batch] = deque()
        self.num_steps_dropped = 0

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def is_full(self) -> bool:
        """Whether another batch would drive one out."""
        return len(self._batches) >= self._size

    def add(self, batch: Batch) -> None:
        """Put a batch last."""
        if self.is_full:
            self.num_steps_dropped += steps_of(self._batches.popleft())
        self._batches.append(batch)

    def take(self) -> Batch:
        """The batch to learn from now."""
        return self._batches.popleft()

    def clear(self) -> int:
        """Forget all; the number of env steps that were never learned from."""
        steps = sum(steps_of(batch) for batch in self._batches)
        self._batches.clear()
        return steps

    def get_state(self) -> dict[str, int]:
        """Counts; batches are no part of it."""
        return {"num_steps_dropped": self.num_steps_dropped}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Continue counting."""
        self.num_steps_dropped = int(state["num_steps_dropped"])


def steps_of(batch: Batch) -> int:
    """Env steps of a batch."""
    return max(sum(r.num_steps * r.num_envs for r in rollouts) for rollouts in batch.values())
