"""Learners reach each other through torch.distributed, with and without its private options."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from rlkit_processes.learners import gloo
from rlkit_processes.learners.gloo import Collective, PeerError, Rendezvous

HOST = "127.0.0.1"


class WithoutOptions:
    """A torch that has no ``ProcessGroupGloo._Options``."""

    def __new__(cls, *args):
        assert len(args) == 4
        return REAL(*args)


@pytest.mark.parametrize(
    ("device", "gpus", "nccl", "expected"),
    [
        ("cpu", 0, True, "cpu"),
        ("cuda:1", 1, True, "cuda:1"),
        ("cuda:0", 0.5, True, "cpu"),  # NCCL takes no two learners on one GPU
        ("cuda:1", 1, False, "cpu"),
    ],
)
def test_gradients_are_summed_on_gpus_that_nobody_shares(monkeypatch, device, gpus, nccl, expected):
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: nccl)
    assert gloo.device_of_sums(torch.device(device), gpus) == torch.device(expected)


REAL = gloo.ProcessGroupGloo


@pytest.mark.parametrize("kind", [REAL, WithoutOptions])
def test_two_ends_add_and_gather(monkeypatch, kind):
    monkeypatch.setattr(gloo, "ProcessGroupGloo", kind)
    meeting = Rendezvous(HOST)

    def end(rank):
        store = meeting.store if rank == 0 else None
        mine = Collective(rank, 2, host=HOST, port=meeting.port, own_host=HOST, store=store)
        tensor = torch.full((3,), float(rank + 1))
        mine.add(tensor)
        return mine, tensor.tolist(), mine.gather_numbers([rank, 5.0])

    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(end, range(2)))
    for _, total, numbers in ends:
        assert total == [3.0, 3.0, 3.0]
        assert numbers == [[0.0, 5.0], [1.0, 5.0]]
    ends[0][0].leave()
    with pytest.raises(PeerError, match="left the group"):
        ends[0][0].add(torch.zeros(1))
