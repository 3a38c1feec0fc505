"""What a network asks of its process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

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
