"""RLlib's PPO with two agents on the same work, on its new API stack. Runs in an environment of its own."""

from __future__ import annotations

import logging
import os
from typing import Any

import ray
import torch
from _agents import (
    CLIP,
    GAMMA,
    HIDDENS,
    LAMBDA,
    LEARNING_RATE,
    LIFETIME,
    MAX_GRAD_NORM,
    MINIBATCH_SIZE,
    MODULES,
    NUM_AGENTS,
    NUM_ENVS,
    NUM_EPOCHS,
    ROLLOUT,
    VALUE_COEFF,
    module_of,
)
from _span import Work, measure, parse_work
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.examples.envs.classes.multi_agent import MultiAgentCartPole


def build(work: Work) -> Any:
    """The algorithm with its runner (in this process, as rlkit's) and networks."""
    torch.set_num_threads(work.threads)
    config = (
        PPOConfig()
        .environment(MultiAgentCartPole, env_config={"num_agents": NUM_AGENTS})
        .multi_agent(policies=set(MODULES), policy_mapping_fn=module_of)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=NUM_ENVS)
        .learners(num_learners=0)
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
        .rl_module(
            model_config=DefaultModelConfig(fcnet_hiddens=list(HIDDENS), fcnet_activation="tanh", vf_share_layers=False)
        )
        .debugging(seed=work.seed, log_level="ERROR")
    )
    return config.build_algo()


def main() -> None:
    """Build, warm up, then train the whole work."""
    work = parse_work()
    logging.disable(logging.WARNING)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=os.environ.get("RAY_TMPDIR"))
    algo = build(work)
    before = int(algo.train()[LIFETIME])

    def train() -> tuple[int, float]:
        done, result = 0, {}
        while done < work.steps:
            result = algo.train()
            done = int(result[LIFETIME]) - before
        return done, float(result["env_runners"]["episode_return_mean"])

    try:
        measure("rllib", train, ["ray", "torch", "gymnasium", "numpy"])
    finally:
        algo.stop()
        ray.shutdown()


if __name__ == "__main__":
    main()
