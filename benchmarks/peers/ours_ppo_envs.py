"""rlkit's PPO on a MuJoCo or an Atari env, as a user writes it."""

from __future__ import annotations

from typing import Any

import torch
from _envs import GAMMA, LAMBDA, MAX_GRAD_NORM, NUM_ENVS, VALUE_COEFF, Task, parse_task
from _span import Work, measure

from rlkit_ppo import PPOConfig

NATURE = [[32, 8, 4, "valid"], [64, 4, 2, "valid"], [64, 3, 1, "valid"]]
IMAGES = {"conv_filters": NATURE, "conv_activation": "relu", "conv_fcnet_hiddens": [512], "vf_share_layers": True}
NUMBERS = {
    "fcnet_hiddens": [64, 64],
    "fcnet_activation": "tanh",
    "vf_share_layers": False,
    "normalize_observations": True,
    "free_log_std": True,
}


def build(task: Task, work: Work) -> Any:
    """The algorithm with its envs and networks."""
    torch.set_num_threads(work.threads)
    config = (
        PPOConfig()
        .environment(task.env, wrappers=["atari"] if task.images else [])
        .env_runners(num_envs_per_env_runner=NUM_ENVS, rollout_fragment_length=task.num_steps)
        .training(
            train_batch_size=task.rollout,
            minibatch_size=task.minibatch_size,
            num_epochs=task.num_epochs,
            lr=task.learning_rate,
            gamma=GAMMA,
            lambda_=LAMBDA,
            clip_param=task.clip,
            vf_loss_coeff=VALUE_COEFF,
            entropy_coeff=task.entropy_coeff,
            grad_clip=MAX_GRAD_NORM,
            grad_clip_by="global_norm",
            normalize_advantages="minibatch",
            reward_scaling=not task.images,
        )
        .rl_module(model_config=IMAGES if task.images else NUMBERS)
        .debugging(seed=work.seed)
    )
    return config.build_algo()


def main() -> None:
    """Build, then train the whole work."""
    task, work = parse_task()
    algo = build(task, work)

    def train() -> tuple[int, float]:
        result: dict[str, Any] = {}
        for _ in range(max(1, work.steps // task.rollout)):
            result = algo.train()
        mean = result["env_runners"].get("episode_return_mean", float("nan"))
        return int(result["num_env_steps_sampled_lifetime"]), float(mean)

    try:
        measure("ours", train, ["rlkit-core", "rlkit-ppo", "torch", "gymnasium", "numpy"])
    finally:
        algo.stop()


if __name__ == "__main__":
    main()
