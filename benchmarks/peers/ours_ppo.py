"""rlkit's PPO on the same work, as a user writes it: eager, in one process."""

from __future__ import annotations

from typing import Any

import torch
from _span import (
    CLIP,
    ENTROPY_COEFF,
    ENV_ID,
    GAMMA,
    HIDDENS,
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
        .environment(ENV_ID)
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
            grad_clip_by="global_norm",
            normalize_advantages="minibatch",
        )
        .rl_module(
            model_config={
                "fcnet_hiddens": list(HIDDENS),
                "fcnet_activation": "tanh",
                "vf_share_layers": False,
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
