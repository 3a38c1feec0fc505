"""What a network asks of its process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
from torch import nn

from rlkit_core.models.machine import takes_small_steps

FAULTS = """
import resource, torch
from rlkit_core.models.machine import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        [torch.ones(2 << 20) for _ in range(8)]  # 8 MiB each
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(), print(faults(), keep_freed_memory(), (faults(), faults())[1])
"""


def run(**variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env=environment | variables, capture_output=True, text=True, check=True
    )
    before, kept, after = done.stdout.split()
    return int(before), kept == "True", int(after)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own setting")
def test_memory_that_is_freed_is_not_faulted_in_again():
    runs = [run() for _ in range(3)]  # what lies above the tensors by chance may keep their memory, too
    assert max(before for before, _, _ in runs) > 1000, runs
    assert all(kept and after < 100 for _, kept, after in runs), runs


def test_a_users_own_setting_stands():
    assert not run(MALLOC_TRIM_THRESHOLD_="131072")[1]


@pytest.mark.parametrize(
    ("network", "settings", "small"),
    [
        (nn.Linear(4, 64), {"minibatch_size": 256}, True),
        (nn.Linear(4, 64), {"minibatch_size": None, "train_batch_size_per_learner": 2_048}, True),
        (nn.Linear(4, 64), {"minibatch_size": 8_192}, False),
        (nn.Linear(4, 64), {"minibatch_size": None, "train_batch_size_per_learner": 8_192}, False),
        (nn.Conv2d(1, 1, 3), {"minibatch_size": 256}, False),
        (nn.Linear(1_024, 1_024), {"minibatch_size": 256}, False),
    ],
)
def test_steps_are_small_where_network_and_minibatches_are(network, settings, small):
    assert takes_small_steps(network, SimpleNamespace(**settings)) is small
