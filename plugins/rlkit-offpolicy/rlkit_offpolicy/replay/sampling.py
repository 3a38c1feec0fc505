"""Gathering batches from a replay buffer's ring, into tensors that are made once per batch size."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested
from rlkit_core.spaces import nested_map
from rlkit_offpolicy.replay.ring import ReplayStorage
from rlkit_offpolicy.replay.rows import Array, RowStore, as_array

#: ``gamma ** n_step``, 0 where the episode terminated.
DISCOUNT = "discount"
#: Steps whose rewards a row sums.
N_STEP = "n_step"
#: Importance weights.
WEIGHTS = "weights"
#: Before the name of a column that the module reads: its value after the step(s) of a row.
NEW = "new_"


class RowSampler:
    """Batches of ``rows`` rows of a ring, which have the leading axes ``lead`` in the batch, or ``(rows,)``."""

    def __init__(
        self,
        storage: ReplayStorage,
        rows: int,
        n_step: tuple[int, int],
        gamma: float,
        lead: tuple[int, ...] | None = None,
    ) -> None:
        self._storage, self._count, self._n_step = storage, rows, n_step
        self._lead = lead or (rows,)
        self._batch: dict[str, Nested] = {}
        self._at_start: list[tuple[RowStore, Array]] = []
        self._at_end: list[tuple[RowStore, Array]] = []
        for name, store in storage.successive.items():
            self._batch[name] = self._room(store, self._at_start)
            self._batch[NEW + name] = self._room(store, self._at_end)
        for name, store in storage.columns.items():
            self._batch[name] = self._room(store, self._at_start)
        self._rewards = self._column(Columns.REWARDS, torch.float32)
        self._terminateds = self._column(Columns.TERMINATEDS, torch.bool)
        self._discount = self._column(DISCOUNT, torch.float32)
        self._steps = self._column(N_STEP, torch.int64)
        self._column(WEIGHTS, torch.float32).fill(1.0)
        self._steps.fill(1)
        self._offsets = np.arange(n_step[1], dtype=np.int64)
        self._powers = (gamma ** np.arange(n_step[1] + 1)).astype(np.float32)
        self._ends = np.array([gamma, 0.0], np.float32)  # the discount of one step, by whether it terminated
        self._successors = np.empty(rows, np.int64)
        self._used = np.ones((rows, n_step[1]), np.bool_)
        self._firsts = np.arange(rows, dtype=np.int64) * n_step[1] - 1

    def _room(self, store: Nested, pairs: list[tuple[RowStore, Array]]) -> Nested:
        def room(leaf: RowStore) -> Tensor:
            tensor = torch.empty((self._count, *leaf.shape), dtype=leaf.dtype)
            pairs.append((leaf, as_array(tensor)))
            return tensor.view(*self._lead, *leaf.shape)

        return nested_map(room, store)

    def _column(self, name: str, dtype: torch.dtype) -> Array:
        tensor = torch.empty(self._count, dtype=dtype)
        self._batch[name] = tensor.view(self._lead)
        return as_array(tensor)

    def __call__(self, places: Array, rng: np.random.Generator, limits: Array | None = None) -> dict[str, Nested]:
        """Columns of the rows at ``places`` (``[rows]`` int64), in this sampler's own memory.

        No more steps than ``limits`` (``[rows]`` int64) are summed; ``rng`` draws n where it is a range.
        """
        storage = self._storage
        lo, hi = self._n_step
        # mode="clip" only spares numpy a copy: places are in range.
        if hi == 1:
            last = places
            storage.rewards.take(places, 0, self._rewards, "clip")
        else:
            limit: Array | None = limits
            if lo != hi:
                drawn = rng.integers(lo, hi + 1, self._count)
                limit = drawn if limit is None else np.minimum(drawn, limit)
            last = self._sum_rewards(places, limit)
        storage.terminateds.take(last, 0, self._terminateds, "clip")
        storage.successor.take(last, 0, self._successors, "clip")
        for leaf, out in self._at_start:
            leaf.array.take(places, 0, out, "clip")
        for leaf, out in self._at_end:
            leaf.array.take(self._successors, 0, out, "clip")
        if hi == 1:
            self._ends.take(self._terminateds, 0, self._discount, "clip")
        else:
            np.multiply(self._powers.take(self._steps), ~self._terminateds, out=self._discount)
        return dict(self._batch)

    def _sum_rewards(self, places: Array, limits: Array | None) -> Array:
        """Fill rewards and steps; the places of the last steps used."""
        storage = self._storage
        window = storage.window(places, len(self._offsets))
        used = self._used
        np.logical_and.accumulate(storage.goes_on.take(window[:, :-1]), axis=1, out=used[:, 1:])
        if limits is not None:
            used = used & (self._offsets < limits[:, None])
        np.matmul(storage.rewards.take(window) * used, self._powers[:-1], out=self._rewards)
        used.sum(axis=1, out=self._steps)
        last: Array = window.reshape(-1).take(self._firsts + self._steps)
        return last


class SequenceSampler:
    """Batches of ``count`` sequences of ``length`` steps; see :meth:`ReplayBuffer.sample`."""

    def __init__(self, storage: ReplayStorage, count: int, length: int, n_step: tuple[int, int], gamma: float) -> None:
        self._storage, self._count, self._length = storage, count, length
        self._gather = RowSampler(storage, count * length, n_step, gamma, (count, length))
        self._time = np.arange(length, dtype=np.int64)

    def starts(self, burn_in: int) -> Array:
        """Places at which a sequence may begin, in order."""
        storage = self._storage
        envs, size = storage.num_envs, storage.size
        oldest = storage.oldest_number
        if storage.states is None:
            # Without a state to know, a sequence may begin anywhere.
            places = (np.arange(storage.stored * envs, dtype=np.int64) + oldest) % size
            places = places[storage.valid[places]]
        else:
            places = np.flatnonzero(((storage.state_slot >= 0) | storage.begins) & storage.valid)
        if burn_in:
            window = storage.window(places, burn_in)
            places = places[storage.goes_on[window].all(axis=1) | storage.begins[places]]
        return places

    def __call__(
        self, starts: Array, rng: np.random.Generator, burn_in: int, initial_state: Nested | None
    ) -> dict[str, Nested]:
        """The sequences that begin at ``starts``, ``[count]`` int64."""
        storage, time = self._storage, self._time
        places = storage.window(starts, self._length)
        real = np.ones(places.shape, np.bool_)
        np.logical_and.accumulate(storage.goes_on[places[:, :-1]], axis=1, out=real[:, 1:])
        lengths = real.sum(axis=1)
        within = np.minimum(time, lengths[:, None] - 1)
        places = np.take_along_axis(places, within, axis=1)
        batch = self._gather(places.reshape(-1), rng, (lengths[:, None] - within).reshape(-1))
        begins = storage.begins[starts]
        batch[Columns.LOSS_MASK] = torch.from_numpy(real & ((time >= burn_in) | begins[:, None]))
        batch[Columns.SEQ_LENS] = torch.from_numpy(lengths)
        if storage.states is not None:
            batch[Columns.STATE_IN] = self._states(starts, begins, initial_state)
        return batch

    def _states(self, starts: Array, begins: Array, initial_state: Nested | None) -> Nested:
        slots = self._storage.state_slot[starts]
        fresh = torch.from_numpy(begins | (slots < 0))
        kept = torch.from_numpy(np.maximum(slots, 0))

        def pick(leaf: RowStore, first: object) -> Tensor:
            states = leaf.tensor.index_select(0, kept)
            value = torch.as_tensor(first, dtype=leaf.dtype).detach().cpu()
            return torch.where(fresh.view(-1, *(1,) * len(leaf.shape)), value, states)

        if initial_state is None:
            return nested_map(lambda leaf: pick(leaf, 0.0), self._storage.states)
        return nested_map(pick, self._storage.states, initial_state)


def successor_batch(batch: Mapping[str, Nested]) -> dict[str, Nested]:
    """What a module reads of the observations after a batch's steps: ``new_obs`` as ``obs``, and so on.

    Args:
        batch: columns of :meth:`ReplayBuffer.sample`, ``[B, ...]``.
    """
    return {name.removeprefix(NEW): column for name, column in batch.items() if name.startswith(NEW)}


def with_successor(column: Nested, successor: Nested, seq_lens: Tensor) -> Nested:
    """A column of sequences with one more step: what came after the last one.

    Args:
        column: ``[B, L, ...]``, such as ``obs`` of :meth:`ReplayBuffer.sample`.
        successor: ``[B, L, ...]``, such as its ``new_obs``.
        seq_lens: ``[B]`` int64, steps that are real.

    Returns:
        ``[B, L + 1, ...]``: real steps as in ``column``, and after the last one its successor (over and over, where
        the sequence is padded). ``new_obs[b, t]`` of a real step is at ``[b, t + n_step[b, t]]``.
    """

    def join(first: Tensor, then: Tensor) -> Tensor:
        joined = torch.cat((first, then[:, -1:]), 1)
        time = torch.arange(joined.shape[1], device=joined.device)
        padding = time >= seq_lens.unsqueeze(-1)
        shifted = torch.cat((first[:, :1], then), 1)
        return torch.where(padding.view(*padding.shape, *(1,) * (joined.dim() - 2)), shifted, joined)

    return nested_map(join, column, successor)
