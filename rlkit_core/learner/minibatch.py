"""Epochs and minibatches over rows that are already on their device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from rlkit_core.data.nested import Nested, cat, first_leaf, index_rows, map_leaves, slice_rows
from rlkit_core.data.sequences import is_sequence_batch, sequence_length
from rlkit_core.errors import ConfigError

ModuleBatch = dict[str, Nested]
"""Rows of one module: column name to ``[B, ...]``."""
Minibatch = dict[str, ModuleBatch]
"""Module id to its rows, or sequences ``[B, L, ...]`` of a recurrent module, on the learner's device."""


def num_rows(batch: Mapping[str, Nested]) -> int:
    """B."""
    for column in batch.values():
        return int(first_leaf(column).shape[0])
    return 0


class ModuleStream:
    """Endless minibatches of exactly ``size`` rows from one module's batch.

    Each pass over the batch shuffles every column once, as a whole, and hands out contiguous slices as views; rows left
    at the end of a pass are joined with the first of the next, so a module smaller than ``size`` cycles.

    Args:
        batch: columns of B rows.
        size: rows per minibatch.
        shuffle: a new order for every pass, drawn from torch's generator.
    """

    def __init__(self, batch: ModuleBatch, size: int, *, shuffle: bool) -> None:
        self._batch, self._size, self._shuffle = batch, size, shuffle
        self._rows = num_rows(batch)
        self._pass = batch
        self._position = self._rows
        even = size < self._rows and self._rows % size == 0
        self._splits = even and all(type(column) is torch.Tensor for column in batch.values())
        self._parts: list[ModuleBatch] = []

    def next(self) -> ModuleBatch:
        """The next minibatch."""
        if self._size == self._rows and not self._shuffle:
            return self._batch
        if self._splits:  # the whole pass is cut at once
            if not self._parts:
                self._start_pass()
                parts = zip(*[column.split(self._size) for column in self._pass.values()], strict=True)
                self._parts = [dict(zip(self._pass, part, strict=True)) for part in parts][::-1]
            return self._parts.pop()
        if self._position + self._size <= self._rows:
            return self._take(self._size)
        if self._position == self._rows and self._size <= self._rows:
            self._start_pass()
            return self._take(self._size)
        missing, joined = self._size, []
        while missing:
            if self._position == self._rows:
                self._start_pass()
            count = min(missing, self._rows - self._position)
            joined.append(self._take(count))
            missing -= count
        return {name: cat([part[name] for part in joined]) for name in self._batch}

    def _take(self, count: int) -> ModuleBatch:
        start, stop = self._position, self._position + count
        self._position = stop
        if count == self._rows:
            return self._pass
        return {
            name: column[start:stop] if type(column) is torch.Tensor else slice_rows(column, start, stop)
            for name, column in self._pass.items()
        }

    def _start_pass(self) -> None:
        self._position = 0
        if self._shuffle:
            order = torch.randperm(self._rows, device=first_leaf(next(iter(self._batch.values()))).device)
            self._pass = {name: index_rows(column, order) for name, column in self._batch.items()}


def minibatches(
    batch: Mapping[str, ModuleBatch],
    *,
    num_epochs: int = 1,
    minibatch_size: int | None = None,
    shuffle: bool = False,
    num_total_minibatches: int = 0,
    num_minibatches: int | None = None,
) -> Iterator[dict[str, ModuleBatch]]:
    """Minibatches over several modules, until the largest has been covered ``num_epochs`` times.

    Args:
        batch: ``{module id: columns}``, none of them empty.
        num_epochs: passes.
        minibatch_size: rows of every module in every minibatch, of a recurrent one in whole sequences (see
            :func:`rows_per_minibatch`); None means each module's whole batch.
        shuffle: shuffle each pass.
        num_total_minibatches: stop after that many; 0 means no limit.
        num_minibatches: exactly that many, instead of what the batch needs.

    Raises:
        ConfigError: a number is not positive.
    """
    if num_minibatches is None:
        counts = count_minibatches(
            batch,
            num_epochs=num_epochs,
            minibatch_size=minibatch_size,
            num_total_minibatches=num_total_minibatches,
        )
        num_minibatches = max(counts.values(), default=0)
    sizes = {
        mid: num_rows(rows) if minibatch_size is None else rows_per_minibatch(rows, minibatch_size)
        for mid, rows in batch.items()
    }
    if num_minibatches == 1 and not shuffle and all(num_rows(batch[mid]) == size for mid, size in sizes.items()):
        yield dict(batch)
        return
    streams = {mid: ModuleStream(batch[mid], size, shuffle=shuffle) for mid, size in sizes.items()}
    for _ in range(num_minibatches):
        yield {mid: stream.next() for mid, stream in streams.items()}


def count_minibatches(
    batch: Mapping[str, ModuleBatch],
    *,
    num_epochs: int = 1,
    minibatch_size: int | None = None,
    num_total_minibatches: int = 0,
) -> dict[str, int]:
    """How many minibatches each module needs for ``num_epochs`` passes; arguments as for :func:`minibatches`.

    Raises:
        ConfigError: a number is not positive.
    """
    for name, value in (("num_epochs", num_epochs), ("minibatch_size", minibatch_size)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value}: expected at least 1")
    counts = {}
    for mid, rows in batch.items():
        count = num_epochs
        if minibatch_size is not None:
            count = -(-num_rows(rows) * num_epochs // rows_per_minibatch(rows, minibatch_size))
        counts[mid] = min(count, num_total_minibatches) if num_total_minibatches else count
    return counts


def rows_per_minibatch(batch: ModuleBatch, minibatch_size: int) -> int:
    """How many rows of ``batch`` a minibatch holds: ``minibatch_size``, or that many steps in whole sequences.

    Padding counts, so that every minibatch of every update has the same shape.
    """
    if not is_sequence_batch(batch):
        return minibatch_size
    return max(1, minibatch_size // sequence_length(batch))


def as_tensors(columns: Mapping[str, Any], device: torch.device | str) -> ModuleBatch:
    """Columns of arrays or tensors as tensors on ``device``; float64 becomes float32."""

    device = torch.device(device)
    for column in columns.values():
        if type(column) is not torch.Tensor or column.dtype is torch.float64 or column.device != device:
            break
    else:
        return dict(columns)

    def convert(value: object) -> torch.Tensor:
        tensor = value if type(value) is torch.Tensor else torch.as_tensor(value)
        if tensor.dtype == torch.float64:
            tensor = tensor.float()
        return tensor if tensor.device == device else tensor.to(device)

    return {
        name: convert(column) if type(column) is torch.Tensor else map_leaves(convert, column)
        for name, column in columns.items()
    }
