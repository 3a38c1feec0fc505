"""rlkit's PPO on frames, as a user writes it."""

from __future__ import annotations

from typing import Any

import torch
from _frames import FC, FILTERS, Frames
from _span import (
    CLIP,
    ENTROPY_COEFF,
    GAMMA,
    LAMBDA,
    LEARNING_RATE,
    MAX_GRAD_NORM,
    MINIBATCH_SIZE,
    NUM_ENVS,
    NUM_EPOCHS,
    NUM_STEPS,
    ROLLOUT,
    VALUE_COEFF,
    Work,
    measure,
    parse_work,
)

from rlkit_ppo import PPOConfig


def build(work: Work) -> Any:
    """The algorithm with its envs and networks."""
    torch.set_num_threads(work.threads)
    config = (
        PPOConfig()
        .environment(Frames)
        .env_runners(num_envs_per_env_runner=NUM_ENVS, rollout_fragment_length=NUM_STEPS)
        .training(
            train_batch_size=ROLLOUT,
            minibatch_size=MINIBATCH_SIZE,
            num_epochs=NUM_EPOCHS,
            lr=LEARNING_RATE,
            gamma=GAMMA,
            lambda_=LAMBDA,
            clip_param=CLIP,
            vf_loss_coeff=VALUE_COEFF,
            entropy_coeff=ENTROPY_COEFF,
            grad_clip=MAX_GRAD_NORM,
            normalize_advantages="minibatch",
        )
        .rl_module(
            model_config={
                "conv_filters": [[*row, "valid"] for row in FILTERS],
                "conv_activation": "relu",
                "conv_fcnet_hiddens": [FC],
                "vf_share_layers": True,
            }
        )
        .debugging(seed=work.seed)
    )
    return config.build_algo()


def main() -> None:
    """Build, then train the whole work."""
    work = parse_work()
    algo = build(work)

    def train() -> tuple[int, float]:
        result: dict[str, Any] = {}
        for _ in range(work.iterations):
            result = algo.train()
        return int(result["num_env_steps_sampled_lifetime"]), float(result["env_runners"]["episode_return_mean"])

    try:
        measure("ours", train, ["rlkit-core", "rlkit-ppo", "torch", "gymnasium", "numpy"])
    finally:
        algo.stop()


if __name__ == "__main__":
    main()
