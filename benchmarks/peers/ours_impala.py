"""rlkit's IMPALA and APPO on the same work, as a user writes them."""

from __future__ import annotations

from typing import Any

import torch
from _impala import (
    ENV_ID,
    FRAGMENT,
    HIDDENS,
    LIFETIME,
    NUM_ENV_RUNNERS,
    NUM_ENVS,
    TRAIN_BATCH_SIZE,
    parse_order,
    warmed_up,
)
from _span import Work, measure

from rlkit_core import get_algorithm_config


def build(name: str, executor: str, work: Work) -> Any:
    """The algorithm with its runners and networks; what is not set is the algorithm's default."""
    torch.set_num_threads(work.threads)
    config = (
        get_algorithm_config(name)
        .environment(ENV_ID)
        .env_runners(
            num_env_runners=NUM_ENV_RUNNERS,
            num_envs_per_env_runner=NUM_ENVS,
            rollout_fragment_length=FRAGMENT,
        )
        .execution(executor=executor, **({"address": "local"} if executor == "ray" else {}))
        .training(train_batch_size=TRAIN_BATCH_SIZE)
        .rl_module(
            model_config={
                "fcnet_hiddens": list(HIDDENS),
                "fcnet_activation": "tanh",
                "vf_share_layers": False,
            }
        )
        .reporting(min_time_s_per_iteration=1)
        .debugging(seed=work.seed)
    )
    return config.build_algo()


def main() -> None:
    """Build, warm up, then train the whole work."""
    name, executor, work = parse_order()
    algo = build(name, executor, work)
    try:
        train = warmed_up(algo, work.steps, lambda result: int(result[LIFETIME]))
        packages = ["rlkit-core", f"rlkit-{name}", "torch", "gymnasium", "numpy"]
        if executor == "ray":
            measure("ours-ray", train, [*packages, "rlkit-ray", "ray"])
        else:
            measure("ours", train, packages)
    finally:
        algo.stop()


if __name__ == "__main__":
    main()
