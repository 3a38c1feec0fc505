"""On how many of torch's threads a network is quickest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

#: Parameters up to which a network without convolutions is quicker on one thread.
SMALL_NETWORK = 1_000_000


def is_small(module: nn.Module) -> bool:
    """Whether a network has no convolutions and at most :data:`SMALL_NETWORK` parameters.

    A layer of such a network takes microseconds. Split over threads it gains nothing where the machine is idle, and
    waits for a time slice, a thousand times as long, where another program has the second thread's core.
    """
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    if any(isinstance(part, convolutions) for part in module.modules()):
        return False
    return bool(sum(p.numel() for p in module.parameters()) <= SMALL_NETWORK)


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
