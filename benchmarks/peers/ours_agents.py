"""rlkit's PPO with two agents, as a user writes it."""

from __future__ import annotations

from typing import Any

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

from rlkit_core.testing import MultiAgentCartPole
from rlkit_ppo import PPOConfig


def build(work: Work) -> Any:
    """The algorithm with its runner and networks."""
    torch.set_num_threads(work.threads)
    config = (
        PPOConfig()
        .environment(MultiAgentCartPole, env_config={"num_agents": NUM_AGENTS})
        .multi_agent(policies=list(MODULES), policy_mapping_fn=module_of)
        .env_runners(num_envs_per_env_runner=NUM_ENVS)
        .training(
            lr=LEARNING_RATE,
            gamma=GAMMA,
            lambda_=LAMBDA,
            clip_param=CLIP,
            vf_loss_coeff=VALUE_COEFF,
            grad_clip=MAX_GRAD_NORM,
            train_batch_size=ROLLOUT,
            num_epochs=NUM_EPOCHS,
            minibatch_size=MINIBATCH_SIZE,
        )
        .rl_module(model_config={"fcnet_hiddens": list(HIDDENS), "fcnet_activation": "tanh", "vf_share_layers": False})
        .reporting(metrics_num_episodes_for_smoothing=20)
        .debugging(seed=work.seed)
    )
    return config.build_algo()


def main() -> None:
    """Build, warm up, then train the whole work."""
    work = parse_work()
    algo = build(work)
    before = int(algo.train()["env_runners"][LIFETIME])

    def train() -> tuple[int, float]:
        done, result = 0, {}
        while done < work.steps:
            result = algo.train()["env_runners"]
            done = int(result[LIFETIME]) - before
        return done, float(result["episode_return_mean"])

    try:
        measure("ours", train, ["rlkit-core", "rlkit-ppo", "torch", "gymnasium", "numpy"])
    finally:
        algo.stop()


if __name__ == "__main__":
    main()
