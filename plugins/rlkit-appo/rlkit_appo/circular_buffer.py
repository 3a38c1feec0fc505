"""A store of batches that are learned from several times, in random order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rlkit_core.seeding import SeedTree
from rlkit_impala.batches import Batch


class CircularBuffer:
    """The newest batches, each to be used a number of times; where there is no room, the oldest goes.

    Luo et al., "IMPACT: Importance Weighted Asynchronous Architectures with Clipped Target Networks",
    https://arxiv.org/abs/1912.00167, has the idea.

    Args:
        num_batches: room.
        iterations_per_batch: how often each is used.
        seeds: node of the seed tree; which batch comes next is drawn from it.

    Attributes:
        num_steps_dropped: env steps of batches that were never learned from.
    """

    def __init__(self, num_batches: int, iterations_per_batch: int, seeds: SeedTree) -> None:
        self._room, self._uses, self._seeds = num_batches, iterations_per_batch, seeds
        self._batches: list[Batch] = []
        self._left: list[int] = []
        self._num_taken = 0
        self.num_steps_dropped = 0

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches)

    @property
    def is_full(self) -> bool:
        """Whether another batch would drive one out."""
        return len(self._batches) >= self._room

    def add(self, batch: Batch) -> None:
        """Put a batch in."""
        if self.is_full:
            oldest, left = self._batches.pop(0), self._left.pop(0)
            if left == self._uses:
                self.num_steps_dropped += oldest.num_env_steps
        self._batches.append(batch)
        self._left.append(self._uses)

    def take(self) -> Batch:
        """The batch to learn from now, any of those that are here."""
        k = self._seeds.child(self._num_taken).seed() % len(self._batches)
        self._num_taken += 1
        batch = self._batches[k]
        self._left[k] -= 1
        if not self._left[k]:
            del self._batches[k], self._left[k]
        return batch

    def clear(self) -> int:
        """Forget all; the number of env steps that were never learned from."""
        unused = [b for b, left in zip(self._batches, self._left, strict=True) if left == self._uses]
        self._batches, self._left = [], []
        return sum(batch.num_env_steps for batch in unused)

    def get_state(self) -> dict[str, Any]:
        """Counts; the batches, which :meth:`set_state` takes beside it, are the caller's to keep."""
        return {"num_steps_dropped": self.num_steps_dropped, "num_taken": self._num_taken, "left": list(self._left)}

    def set_state(self, state: Mapping[str, Any], batches: Iterable[Batch] = ()) -> None:
        """Continue counting and drawing, with these batches waiting."""
        self.num_steps_dropped = int(state["num_steps_dropped"])
        self._num_taken = int(state.get("num_taken", 0))
        self._batches = list(batches)
        self._left = [int(left) for left in state.get("left", ())] if self._batches else []
