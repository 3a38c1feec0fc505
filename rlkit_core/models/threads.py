"""What a network wants of its process: how many of torch's threads, and that freed memory is kept."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

#: Parameters up to which a network without convolutions is quicker on one thread.
SMALL_NETWORK = 1_000_000
#: Rows of a minibatch up to which it is: torch splits what has more elements than some ten thousand.
SMALL_BATCH = 2_048


def is_small(module: nn.Module) -> bool:
    """Whether a network has no convolutions and at most :data:`SMALL_NETWORK` parameters.

    A layer of such a network takes microseconds. Split over threads it gains nothing where the machine is idle, and
    waits for a time slice, a thousand times as long, where another program has the second thread's core.
    """
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    if any(isinstance(part, convolutions) for part in module.modules()):
        return False
    return bool(sum(p.numel() for p in module.parameters()) <= SMALL_NETWORK)


@functools.cache
def keep_freed_memory() -> bool:
    """Let glibc keep the memory of tensors that are gone for those that come, up to 512 MiB; whether it does.

    It gives large blocks back to the system, to be faulted in anew page by page: the same tensors of some MiB, at each
    step, of a network that reads pictures. It is told once a process, and not where an environment variable of its own
    says what it is to do; elsewhere than with glibc nothing happens.
    """
    if not _MALLOC_VARIABLES.isdisjoint(os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 32 << 20) and mallopt(_M_TRIM_THRESHOLD, 512 << 20))


_MALLOC_VARIABLES = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES"}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


@contextmanager
def torch_threads(number: int | None) -> Iterator[None]:
    """Give torch that many threads meanwhile; None leaves it as it is."""
    before = torch.get_num_threads()
    if number is None or number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
