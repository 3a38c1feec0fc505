"""What every worker of ``ppo_cartpole.py`` shares: its arguments, its measured span, its one line of JSON.

Standard library only, because the workers run in different environments. Each worker builds everything first,
then calls :func:`measure` on the training alone.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata

ENV_ID = "CartPole-v1"
NUM_ENVS = 8
NUM_STEPS = 128
NUM_EPOCHS = 4
MINIBATCH_SIZE = 256
HIDDENS = (64, 64)
LEARNING_RATE = 3e-4
GAMMA = 0.99
LAMBDA = 0.95
CLIP = 0.2
VALUE_COEFF = 0.5
ENTROPY_COEFF = 0.0
MAX_GRAD_NORM = 0.5
ROLLOUT = NUM_ENVS * NUM_STEPS


@dataclass(frozen=True)
class Work:
    """One worker's order: train for ``steps`` environment steps."""

    steps: int
    threads: int
    seed: int

    @property
    def iterations(self) -> int:
        """Whole rollouts of 8 x 128 steps, at least one."""
        return max(1, self.steps // ROLLOUT)


def parse_work(argv: Sequence[str] | None = None) -> Work:
    """Read ``--steps``, ``--threads`` and ``--seed``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=102_400)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    return Work(**vars(parser.parse_args(argv)))


def peak_memory_mib() -> float:
    """The largest resident size of this process so far, in MiB.

    Linux keeps it per program image (``VmHWM``); elsewhere ``ru_maxrss`` is the nearest thing.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def measure(name: str, train: Callable[[], tuple[int, float]], packages: Sequence[str]) -> None:
    """Time ``train()`` and print the result as one line of JSON.

    ``train()`` returns the steps done and the last mean return, NaN where no episode ended.
    """
    start = time.perf_counter()
    steps, mean_return = train()
    seconds = time.perf_counter() - start
    result = {
        "name": name,
        "steps": steps,
        "seconds": seconds,
        "steps_per_second": steps / seconds,
        "peak_memory_mib": peak_memory_mib(),
        "mean_return": mean_return if math.isfinite(mean_return) else None,
        "versions": {package: metadata.version(package) for package in packages},
    }
    print(json.dumps(result), flush=True)
