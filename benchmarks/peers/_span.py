"""What every worker of ``bench.py`` shares: its arguments, its measured span, its one line of JSON.

Standard library only, because the workers run in different environments. Each worker builds everything first,
then calls :func:`measure` on the training alone. The constants are the work of PPO on CartPole-v1; others take theirs
from it where they need no other.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

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
LIFETIME = "num_env_steps_sampled_lifetime"
"""Of a result of rlkit's or RLlib's."""


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
    return Work(**vars(_parser().parse_args(argv)))


def parse_order(names: Iterable[str], argv: Sequence[str] | None = None) -> tuple[str, Work]:
    """Read which of several works is meant, and then as :func:`parse_work`."""
    parser = _parser()
    parser.add_argument("name", choices=list(names))
    given = vars(parser.parse_args(argv))
    return given.pop("name"), Work(**given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=102_400)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    return parser


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


def measure(train: Callable[[], tuple[int, float]], packages: Sequence[str]) -> None:
    """Time ``train()`` and print the result as one line of JSON.

    ``train()`` returns the steps done and the last mean return, NaN where no episode ended.
    """
    start = time.perf_counter()
    steps, mean_return = train()
    seconds = time.perf_counter() - start
    result = {
        "steps": steps,
        "seconds": seconds,
        "steps_per_second": steps / seconds,
        "peak_memory_mib": peak_memory_mib(),
        "mean_return": mean_return if math.isfinite(mean_return) else None,
        "versions": {package: metadata.version(package) for package in packages},
    }
    print(json.dumps(result), flush=True)


def repeated(call: Callable[[], object], times: int, worth: int = 1) -> Callable[[], tuple[int, float]]:
    """What :func:`measure` takes, for a call that is done so many times, each worth so many steps, without a return."""

    def train() -> tuple[int, float]:
        for _ in range(times):
            call()
        return times * worth, math.nan

    return train


def after_first(algo: Any, steps: int) -> Callable[[], tuple[int, float]]:
    """Train until the first results are there, outside of the measured span; return the rest as a function.

    Processes that start, import and connect are no part of the rate at which training goes on.
    """
    before = 0
    while not before:
        before = int(algo.train().get(LIFETIME, 0))

    def train() -> tuple[int, float]:
        result: dict[str, Any] = {}
        done = 0
        while done < steps:
            result = algo.train()
            done = int(result[LIFETIME]) - before
        return done, float(result["env_runners"]["episode_return_mean"])

    return train
