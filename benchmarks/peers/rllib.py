"""RLlib's new API stack at the works of ``races.py``, in an environment of its own; what is not set is its default.

python benchmarks/peers/rllib.py NAME --steps N [--threads 1] [--seed 1]
"""

from __future__ import annotations

import logging
import os
from typing import Any

import _agents
import _impala
import ray
import torch
from _span import (
    CLIP,
    GAMMA,
    HIDDENS,
    LAMBDA,
    LEARNING_RATE,
    MAX_GRAD_NORM,
    MINIBATCH_SIZE,
    NUM_ENVS,
    NUM_EPOCHS,
    ROLLOUT,
    VALUE_COEFF,
    after_first,
    measure,
    parse_order,
)
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.examples.envs.classes.multi_agent import MultiAgentCartPole

NETWORKS = DefaultModelConfig(fcnet_hiddens=list(HIDDENS), fcnet_activation="tanh", vf_share_layers=False)


def two_agents() -> Any:
    """PPO with a module for each agent; the runner is in this process."""
    return (
        PPOConfig()
        .environment(MultiAgentCartPole, env_config={"num_agents": _agents.NUM_AGENTS})
        .multi_agent(policies=set(_agents.MODULES), policy_mapping_fn=_agents.module_of)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=NUM_ENVS)
        .training(
            lr=LEARNING_RATE,
            gamma=GAMMA,
            lambda_=LAMBDA,
            clip_param=CLIP,
            vf_loss_coeff=VALUE_COEFF,
            vf_clip_param=1e9,
            use_kl_loss=False,
            grad_clip=MAX_GRAD_NORM,
            train_batch_size_per_learner=ROLLOUT,
            num_epochs=NUM_EPOCHS,
            minibatch_size=MINIBATCH_SIZE,
        )
    )


def impala(config: Any) -> Any:
    """IMPALA or APPO with two runner processes."""
    return (
        config.environment(_impala.ENV_ID)
        .env_runners(
            num_env_runners=_impala.NUM_ENV_RUNNERS,
            num_envs_per_env_runner=_impala.NUM_ENVS,
            rollout_fragment_length=_impala.FRAGMENT,
        )
        .training(train_batch_size_per_learner=_impala.TRAIN_BATCH_SIZE)
        .reporting(min_time_s_per_iteration=1)
    )


CONFIGS = {
    "two_agents": two_agents,
    "impala": lambda: impala(IMPALAConfig()),
    "appo": lambda: impala(APPOConfig()),
}


def main() -> None:
    """Build, warm up, then train the whole work."""
    name, work = parse_order(CONFIGS)
    logging.disable(logging.WARNING)
    torch.set_num_threads(work.threads)
    threads = {"OMP_NUM_THREADS": str(work.threads), "MKL_NUM_THREADS": str(work.threads)}
    ray.init(
        "local",
        num_cpus=_impala.NUM_ENV_RUNNERS + 1,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": threads},
        _temp_dir=os.environ.get("RAY_TMPDIR"),
    )
    config = CONFIGS[name]().learners(num_learners=0).rl_module(model_config=NETWORKS)
    algo = config.debugging(seed=work.seed, log_level="ERROR").build_algo()
    try:
        train = after_first(algo, work.steps)
        measure(train, ["ray", "torch", "gymnasium", "numpy"])
    finally:
        algo.stop()
        ray.shutdown()


if __name__ == "__main__":
    main()
