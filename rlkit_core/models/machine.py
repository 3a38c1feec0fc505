"""What a network wants of the machine: how many of torch's threads, that freed memory is kept, what it computes in."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rlkit_core.data.nested import map_leaves

_LOG = logging.getLogger(__name__)
_BF16_ON_CPUS = ("avx512_bf16", "amx_bf16")
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


def takes_small_steps(module: nn.Module, config: Any) -> bool:
    """Whether a network is small, and so are the minibatches that a config gives it."""
    rows: int = getattr(config, "minibatch_size", None) or config.train_batch_size_per_learner
    return rows <= SMALL_BATCH and is_small(module)


@functools.cache
def keep_freed_memory() -> bool:
    """Let glibc keep the memory of tensors that are gone for those that come, up to 512 MiB; whether it does.

    It gives large blocks back to the system, to be faulted in anew page by page: the same tensors of some MiB, at each
    step, of a network that reads pictures or takes thousands of rows. It is told once a process, and not where an
    environment variable of its own says what it is to do; elsewhere than with glibc nothing happens.
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


class Trains(Protocol):
    """A module, or several."""

    def forward_train(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Forward for the loss."""


def forward_train(
    module: Trains, minibatch: dict[str, Any], precision: str | None, device: torch.device
) -> dict[str, Any]:
    """``module.forward_train(minibatch)``; where ``precision`` is ``"bf16"`` under autocast, and in float32 again.

    Losses are not under autocast: ratios of probabilities and temporal differences need more than bfloat16's 8 bits.
    A distribution that the module itself has made stays as it is.
    """
    if precision is None:
        return module.forward_train(minibatch)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        fwd_out = module.forward_train(minibatch)
    widened: dict[str, Any] = map_leaves(_widened, fwd_out)
    return widened


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype is torch.bfloat16 else value


def warn_where_it_is_slow(device: torch.device) -> None:
    """Say so where the device computes bfloat16 by float32, which makes steps slower; older torch cannot tell."""
    if device.type == "cuda":
        what, slow = "GPU", not torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        can: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        what, slow = "CPU", bool(can) and not any(can.get(name) for name in _BF16_ON_CPUS)
    if slow:
        _LOG.warning(
            "learners(mixed_precision='bf16'): this %s has no bfloat16 arithmetic, so steps take longer; "
            "use mixed_precision=None, unless it is the memory that counts",
            what,
        )
