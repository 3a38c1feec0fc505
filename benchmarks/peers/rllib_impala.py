"""RLlib's IMPALA and APPO on the same work, on its new API stack. Runs in an environment of its own."""

from __future__ import annotations

import logging
import os
from typing import Any

import ray
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
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

CONFIGS = {"impala": IMPALAConfig, "appo": APPOConfig}


def build(name: str, work: Work) -> Any:
    """The algorithm with its runners and networks; what is not set is RLlib's default."""
    torch.set_num_threads(work.threads)
    config = (
        CONFIGS[name]()
        .environment(ENV_ID)
        .env_runners(
            num_env_runners=NUM_ENV_RUNNERS,
            num_envs_per_env_runner=NUM_ENVS,
            rollout_fragment_length=FRAGMENT,
        )
        .learners(num_learners=0)
        .training(train_batch_size_per_learner=TRAIN_BATCH_SIZE)
        .rl_module(
            model_config=DefaultModelConfig(fcnet_hiddens=list(HIDDENS), fcnet_activation="tanh", vf_share_layers=False)
        )
        .reporting(min_time_s_per_iteration=1)
        .debugging(seed=work.seed, log_level="ERROR")
    )
    return config.build_algo()


def main() -> None:
    """Build, warm up, then train the whole work."""
    name, _, work = parse_order()
    logging.disable(logging.WARNING)
    threads = {"OMP_NUM_THREADS": str(work.threads), "MKL_NUM_THREADS": str(work.threads)}
    ray.init(
        "local",
        num_cpus=NUM_ENV_RUNNERS + 1,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": threads},
        _temp_dir=os.environ.get("RAY_TMPDIR"),
    )
    algo = build(name, work)
    try:
        train = warmed_up(algo, work.steps, lambda result: int(result[LIFETIME]))
        measure("rllib", train, ["ray", "torch", "gymnasium", "numpy"])
    finally:
        algo.stop()
        ray.shutdown()


if __name__ == "__main__":
    main()
