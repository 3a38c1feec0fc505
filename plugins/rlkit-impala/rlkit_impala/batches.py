"""From rollouts to train batches: gathered until they are enough, and queued until the learner has time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from rlkit_core.data import Rollout
from rlkit_core.data.nested import leaves


class Batch(dict[str, list[Rollout]]):
    """What one update learns from: rollouts by module, in the order in which they came.

    Attributes:
        num_env_steps: steps of the envs in which they were collected, however many agents acted in each.
    """

    def __init__(self, rollouts: Mapping[str, list[Rollout]], num_env_steps: int) -> None:
        super().__init__(rollouts)
        self.num_env_steps = num_env_steps

    @property
    def can_be_saved(self) -> bool:
        """Whether it consists of arrays: observations may have parts (Text, Graph) that are none."""
        rollouts = (rollout for of_module in self.values() for rollout in of_module)
        return all(isinstance(leaf, Tensor) for rollout in rollouts for leaf in leaves(rollout.columns))

    def get_state(self) -> dict[str, Any]:
        """Its rollouts and count, for checkpoints."""
        rollouts = {module_id: [rollout.get_state() for rollout in some] for module_id, some in self.items()}
        return {"rollouts": rollouts, "num_env_steps": self.num_env_steps}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Batch:
        """The batch of :meth:`get_state`."""
        rollouts = {mid: [Rollout.from_state(one) for one in some] for mid, some in state["rollouts"].items()}
        return cls(rollouts, int(state["num_env_steps"]))


class Gatherer:
    """Puts rollouts together to batches of about ``batch_size`` env steps.

    A batch is a whole number of samples, that which comes nearest to ``batch_size``. A sample of several times that
    size is divided along the envs (the agents) of its rollouts.

    Args:
        batch_size: env steps.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._open = Batch({}, 0)

    def add(self, rollouts: Mapping[str, Rollout], num_env_steps: int | None = None) -> list[Batch]:
        """Take in one sample; the batches that it completes.

        Args:
            rollouts: by module; perhaps not of all of them, and of different T and N.
            num_env_steps: env steps in which they were collected; those of the only module's rollout unless given,
                rows that a reset mode masks included, so that batches are all of one size.
        """
        widest = max(rollouts.values(), key=lambda rollout: rollout.num_envs, default=None)
        size = num_env_steps
        if size is None:
            size = 0 if widest is None else widest.num_steps * widest.num_envs
        if widest is not None:
            parts = min(round(size / self._batch_size), widest.num_envs)
            if parts > 1:
                return _divided(rollouts, widest, size, parts)
        for module_id, rollout in rollouts.items():
            self._open.setdefault(module_id, []).append(rollout)
        self._open.num_env_steps += size
        if self._open.num_env_steps + size / 2 < self._batch_size:
            return []
        batch = self._open
        self.clear()
        return [batch]

    @property
    def open(self) -> Batch:
        """What is not a batch yet."""
        return self._open

    def go_on_from(self, batch: Batch) -> None:
        """Have this instead."""
        self._open = batch

    def clear(self) -> int:
        """Forget what is not a batch yet; the number of its env steps."""
        steps = self._open.num_env_steps
        self._open = Batch({}, 0)
        return steps


def _divided(rollouts: Mapping[str, Rollout], widest: Rollout, size: int, parts: int) -> list[Batch]:
    """A sample of ``size`` env steps in ``parts`` batches; modules with fewer columns are in the first of them."""
    shares = [round(size * piece.num_envs / widest.num_envs) for piece in widest.split(parts)]
    batches = [Batch({}, share) for share in shares]
    for module_id, rollout in rollouts.items():
        for batch, piece in zip(batches, rollout.split(min(parts, rollout.num_envs)), strict=False):
            batch[module_id] = [piece]
    return batches


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

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches)

    @property
    def is_full(self) -> bool:
        """Whether another batch would drive one out."""
        return len(self._batches) >= self._size

    def add(self, batch: Batch) -> None:
        """Put a batch last."""
        if self.is_full:
            self.num_steps_dropped += self._batches.popleft().num_env_steps
        self._batches.append(batch)

    def take(self) -> Batch:
        """The batch to learn from now."""
        return self._batches.popleft()

    def clear(self) -> int:
        """Forget all; the number of env steps that were never learned from."""
        steps = sum(batch.num_env_steps for batch in self._batches)
        self._batches.clear()
        return steps

    def get_state(self) -> dict[str, Any]:
        """Counts; the batches, which :meth:`set_state` takes beside it, are the caller's to keep."""
        return {"num_steps_dropped": self.num_steps_dropped}

    def set_state(self, state: Mapping[str, Any], batches: Iterable[Batch] = ()) -> None:
        """Continue counting, with these batches waiting."""
        self.num_steps_dropped = int(state["num_steps_dropped"])
        self._batches = deque(batches)
