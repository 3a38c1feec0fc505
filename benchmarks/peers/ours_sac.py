"""rlkit's SAC on the same work, as a user writes it; ``--eager`` does not record the update."""

from __future__ import annotations

import sys
from typing import Any

import torch
from _sac import BATCH_SIZE, CAPACITY, ENV_ID, GAMMA, HIDDENS, LEARNING_RATE, LEARNING_STARTS, TAU
from _span import Work, measure, parse_work

from rlkit_core import get_algorithm_config

EAGER = "--eager"


def build(work: Work, *, eager: bool) -> Any:
    """The algorithm with its env, networks and buffer."""
    torch.set_num_threads(work.threads)
    config = (
        get_algorithm_config("sac")
        .environment(ENV_ID)
        .training(
            lr=LEARNING_RATE,
            gamma=GAMMA,
            tau=TAU,
            train_batch_size=BATCH_SIZE,
            num_steps_sampled_before_learning_starts=LEARNING_STARTS,
            replay_buffer_config={"type": "uniform", "capacity": CAPACITY},
        )
        .rl_module(model_config={"fcnet_hiddens": list(HIDDENS), "qf_head_fcnet_hiddens": list(HIDDENS)})
        .learners(compile=None if eager else "auto")
        .debugging(seed=work.seed)
    )
    return config.build_algo()


def main() -> None:
    """Build, then train the whole work."""
    eager = EAGER in sys.argv
    work = parse_work([argument for argument in sys.argv[1:] if argument != EAGER])
    algo = build(work, eager=eager)

    def train() -> tuple[int, float]:
        result: dict[str, Any] = {"num_env_steps_sampled_lifetime": 0}
        while result["num_env_steps_sampled_lifetime"] < work.steps:
            result = algo.train()
        return int(result["num_env_steps_sampled_lifetime"]), float(result["env_runners"]["episode_return_mean"])

    try:
        measure("ours-eager" if eager else "ours", train, ["rlkit-core", "rlkit-sac", "torch", "gymnasium", "numpy"])
    finally:
        algo.stop()


if __name__ == "__main__":
    main()
