"""A seed for every episode, so that an episode is its seed and the actions since."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlkit_core.seeding import SeedTree

AT_ONCE = 64
"""Seeds of one env that are drawn together: a generator of their own would cost more than an env's reset."""


class EpisodeSeeds:
    """Where the seeds of further episodes come from; envs ask when they are about to reset.

    Env n has a sequence of seeds of its own, whose k-th is the same however far the other envs are.

    Args:
        seeds: node of the seed tree that they are drawn from.
        num_envs: N.
        each: give every episode a seed; otherwise only those of :meth:`give`, and envs go on with their own generators.
    """

    def __init__(self, seeds: SeedTree, num_envs: int, *, each: bool = True) -> None:
        self._seeds, self._each = seeds, each
        self._queues: list[list[int]] | None = None
        self._drawn = [0] * num_envs
        self._ahead: list[list[int]] = [[] for _ in range(num_envs)]  # the next one at the end

    def give(self, queues: Sequence[Sequence[int]] | None) -> None:
        """Let env n's next episodes begin with the seeds ``queues[n]``, and those behind with none; None ends that."""
        self._queues = None if queues is None else [list(reversed(queue)) for queue in queues]

    def __call__(self, n: int) -> int | None:
        """The seed of env n's next episode; None: the env goes on with its own generator."""
        if self._queues is not None:
            return self._queues[n].pop() if self._queues[n] else None
        if not self._each:
            return None
        ahead = self._ahead[n]
        if not ahead:
            ahead = self._ahead[n] = self._draw(n)
        self._drawn[n] += 1
        return ahead.pop()

    def _draw(self, n: int) -> list[int]:
        block, used = divmod(self._drawn[n], AT_ONCE)
        numbers = np.random.default_rng((self._seeds.child(n).seed(), block))
        drawn: list[int] = numbers.integers(0, 2**32, AT_ONCE, np.uint32).tolist()[used:]
        return drawn[::-1]

    def get_state(self) -> list[int]:
        """How many seeds each env has had."""
        return list(self._drawn)

    def set_state(self, seeds: SeedTree, drawn: Sequence[int]) -> None:
        """Go on behind what :meth:`get_state` counted, in the sequences below a node; of as many envs as there are."""
        self._seeds = seeds
        self._drawn = [int(drawn[n]) if n < len(drawn) else 0 for n in range(len(self._drawn))]
        self._ahead = [[] for _ in self._drawn]
