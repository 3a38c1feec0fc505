"""The work of ``impala_cartpole.py``: two runner processes of 8 envs each, one learner beside them in the driver.

Standard library only, because the workers run in different environments.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from _span import Work

ALGORITHMS = ("impala", "appo")
ENV_ID = "CartPole-v1"
NUM_ENV_RUNNERS = 2
NUM_ENVS = 8
FRAGMENT = 50
TRAIN_BATCH_SIZE = NUM_ENV_RUNNERS * NUM_ENVS * FRAGMENT
HIDDENS = (64, 64)
LIFETIME = "num_env_steps_sampled_lifetime"


def parse_order(argv: Sequence[str] | None = None) -> tuple[str, str, Work]:
    """Read ``--algo``, ``--executor``, ``--steps``, ``--threads`` and ``--seed``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--algo", choices=ALGORITHMS, default="impala")
    parser.add_argument("--executor", default="auto", help="of our runners")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    values = vars(parser.parse_args(argv))
    return values.pop("algo"), values.pop("executor"), Work(**values)


def warmed_up(algo: Any, steps: int, sampled: Callable[[dict[str, Any]], int]) -> Callable[[], tuple[int, float]]:
    """Train until the first results are there, outside of the measured span; return the rest as a function.

    Processes that start, import and connect are no part of the rate at which training goes on.
    """
    before = 0
    while before < TRAIN_BATCH_SIZE:
        before = sampled(algo.train())

    def train() -> tuple[int, float]:
        result: dict[str, Any] = {}
        done = 0
        while done < steps:
            result = algo.train()
            done = sampled(result) - before
        return done, float(result["env_runners"]["episode_return_mean"])

    return train
