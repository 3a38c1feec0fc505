"""For all tests, the plugins' included: one torch thread, and random numbers that are the same every time.

The networks in tests are tiny. With two threads a layer waits for the second one whenever anything else runs, and
results of two machines differ in their last bits. Set OMP_NUM_THREADS to choose another number; the processes that
tests start take it over.
"""

from __future__ import annotations

import os
import signal

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it runs in the background this way, and the processes that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    import numpy as np
    import torch

    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def next_step_resets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let envs of the mode "gymnasium_sync" reset by themselves in the step after, as an env's own vector class may."""
    import gymnasium as gym

    from rlkit_core.envs.gym_vectors import make
    from rlkit_core.envs.gym_vectors.classes import GymVectorEnv

    def by_themselves(factories, next_seed, info_metrics):  # type: ignore[no-untyped-def]
        return GymVectorEnv(gym.vector.SyncVectorEnv(factories), info_metrics)

    monkeypatch.setattr(make, "sync_envs", by_themselves)
