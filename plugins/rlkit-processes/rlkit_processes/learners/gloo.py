"""The learners of a group as they reach each other: a torch.distributed group that nothing outlives."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

# Classes that torch gives no typed names to.
from torch.distributed import PrefixStore, ProcessGroupGloo, Store, TCPStore, Work  # type: ignore[attr-defined]

from rlkit_core.errors import ActorError

#: How long one learner waits for another before it gives up; a learner that is gone is noticed at once.
TIMEOUT = timedelta(minutes=10)


class PeerError(ActorError):
    """Another learner of the group failed or is gone; that one's own error says why."""


class Rendezvous:
    """A place in the first learner's process where the learners of a group find each other.

    It listens on a port that the system picks, so groups beside each other never collide, and ends with its process.
    Whoever reaches the port can disturb the group, so it is bound to one address and not to all, as torch would do.

    Args:
        host: the address to listen on; with ``127.0.0.1`` no other machine can connect.

    Raises:
        PeerError: this machine has no such address.
    """

    def __init__(self, host: str) -> None:
        try:
            listening = socket.create_server((host, 0))
        except OSError as error:
            raise PeerError(f"learners cannot meet at {host!r}, the first one's address: {error}") from error
        self.port = int(listening.getsockname()[1])
        self.store = TCPStore(
            host,
            self.port,
            1,
            is_master=True,
            timeout=TIMEOUT,
            wait_for_workers=False,
            master_listen_fd=listening.detach(),  # torch closes it
        )


def device_of_sums(device: torch.device, num_gpus_per_learner: float) -> torch.device:
    """Where learners sum their gradients: on their GPUs where each has its own and torch has NCCL, else on the CPU.

    Args:
        device: where a learner's modules are.
        num_gpus_per_learner: of the config, and so the same on all of them.
    """
    alone = device.type == "cuda" and num_gpus_per_learner >= 1
    return device if alone and distributed.is_nccl_available() else torch.device("cpu")


class Collective:
    """One learner's end of the group. Tensors are the CPU's, and those of :meth:`add` may be a GPU's too.

    All learners make the same calls in the same order. When one of them ends, or calls :meth:`leave`, the calls of the
    others raise :class:`PeerError` at once. Only NCCL, which adds up what is on GPUs, may wait for one that is gone; so
    ask the others something on the CPU first.

    Args:
        rank: 0 to ``size - 1``.
        size: number of learners.
        host: where the :class:`Rendezvous` is; ``127.0.0.1`` when all learners are on one machine.
        port: the rendezvous's.
        own_host: the address under which this learner is reached.
        store: the rendezvous's own store, in the process that has it, or another that all learners share.
        device: where :meth:`add` finds its tensors; with a GPU, learners have one each.

    Raises:
        PeerError: the others do not come.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        *,
        host: str,
        port: int,
        own_host: str,
        store: Store | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.rank, self.size, self.device = rank, size, torch.device(device)
        self._group: Any = None
        self._adding: Any = None
        try:
            if store is None:
                store = TCPStore(host, port, size, timeout=TIMEOUT, wait_for_workers=False)
            self._group = self._adding = _process_group(store, rank, size, own_host)
            if self.device.type == "cuda":
                self._adding = _nccl_group(store, rank, size)
        except RuntimeError as error:
            raise PeerError(f"learner {rank} of {size} cannot reach the others: {error}") from error

    def add(self, tensor: Tensor) -> None:
        """Replace ``tensor`` (contiguous) by its sum over all learners, the same bits on each."""
        self._run(lambda: (self._adding if tensor.is_cuda else self._group).allreduce([tensor]))

    def gather(self, tensor: Tensor) -> Tensor:
        """``tensor`` of every learner, ``[size, *shape]``, in the order of ranks. Shapes and dtypes are the same."""
        rows = [torch.empty_like(tensor) for _ in range(self.size)]
        self._run(lambda: self._group.allgather([rows], [tensor.contiguous()]))
        return torch.stack(rows)

    def gather_numbers(self, numbers: Sequence[float]) -> list[list[float]]:
        """As many numbers of every learner."""
        gathered: list[list[float]] = self.gather(torch.tensor(numbers, dtype=torch.float64)).tolist()
        return gathered

    def _run(self, start: Callable[[], Work]) -> None:
        if self._group is None:
            raise PeerError(f"learner {self.rank} of {self.size} has left the group, since one of them failed")
        try:
            start().wait()
        except RuntimeError as error:
            self.leave()
            raise PeerError(
                f"learner {self.rank} of {self.size}: another learner failed or is gone: {error}"
            ) from error

    def leave(self) -> None:
        """Close the connections; the others notice. A second call does nothing."""
        self._group = self._adding = None


def _nccl_group(store: Store, rank: int, size: int) -> Any:
    nccl: Any = distributed.ProcessGroupNCCL
    return nccl(PrefixStore("nccl", store), rank, size, nccl.Options())


def _process_group(store: Store, rank: int, size: int, own_host: str) -> ProcessGroupGloo:
    """A group whose members listen on ``own_host`` alone.

    Torch takes the address through its private ``_Options`` only. Without them it chooses that of the machine's name,
    or of the network interface that the environment variable ``GLOO_SOCKET_IFNAME`` names.
    """
    gloo: Any = ProcessGroupGloo
    if not hasattr(gloo, "_Options"):
        return ProcessGroupGloo(store, rank, size, TIMEOUT)
    options = gloo._Options()
    options._timeout = TIMEOUT
    options._devices = [gloo.create_device(hostname=own_host)]
    return ProcessGroupGloo(store, rank, size, options)


def own_address() -> tuple[str, str]:
    """``(name of this machine, an address under which other machines reach it)``."""
    name = socket.gethostname()
    address = "127.0.0.1"
    with contextlib.suppress(OSError):
        address = socket.gethostbyname(name)
    if address.startswith("127."):  # as many machines call themselves; then that of the way out, where nothing is sent
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.connect(("192.0.2.1", 9))
            address = way.getsockname()[0]
    return name, address
