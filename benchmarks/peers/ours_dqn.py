"""rlkit's DQN on the same work, as a user writes it.

``--capture`` records the update. ``--together`` takes 32 steps and then the 8 updates that belong to them, instead of 4
steps and one update: as many steps, updates and rows, in another order.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from _dqn import (
    BATCH_SIZE,
    CAPACITY,
    ENV_ID,
    EPSILON,
    EPSILON_STEPS,
    GAMMA,
    HIDDENS,
    LEARNING_RATE,
    LEARNING_STARTS,
    TARGET_EVERY,
    TRAIN_EVERY,
)
from _span import Work, measure, parse_work

from rlkit_core import get_algorithm_config

CAPTURE, TOGETHER = "--capture", "--together"
UPDATES_TOGETHER = 8


def build(work: Work, *, capture: bool, together: bool = False) -> Any:
    """The algorithm with its env, networks and buffer."""
    torch.set_num_threads(work.threads)
    updates = UPDATES_TOGETHER if together else 1
    config = (
        get_algorithm_config("dqn")
        .environment(ENV_ID)
        .env_runners(num_envs_per_env_runner=1, rollout_fragment_length=TRAIN_EVERY * updates)
        .training(
            lr=LEARNING_RATE,
            gamma=GAMMA,
            train_batch_size=BATCH_SIZE,
            training_intensity=BATCH_SIZE / TRAIN_EVERY,
            n_step=1,
            double_q=False,
            dueling=False,
            num_atoms=1,
            noisy=False,
            hiddens=[],
            td_error_loss_fn="mse",
            grad_clip=None,
            epsilon=[[0, EPSILON[0]], [EPSILON_STEPS, EPSILON[1]]],
            target_network_update_freq=TARGET_EVERY,
            num_steps_sampled_before_learning_starts=LEARNING_STARTS,
            replay_buffer_config={"type": "ReplayBuffer", "capacity": CAPACITY},
        )
        .rl_module(model_config={"fcnet_hiddens": list(HIDDENS), "fcnet_activation": "relu"})
        .learners(compile="capture" if capture else None)
        .debugging(seed=work.seed)
    )
    return config.build_algo()


def main() -> None:
    """Build, then train the whole work."""
    capture, together = CAPTURE in sys.argv, TOGETHER in sys.argv
    work = parse_work([argument for argument in sys.argv[1:] if argument not in (CAPTURE, TOGETHER)])
    algo = build(work, capture=capture, together=together)

    def train() -> tuple[int, float]:
        result: dict[str, Any] = {"num_env_steps_sampled_lifetime": 0}
        while result["num_env_steps_sampled_lifetime"] < work.steps:
            result = algo.train()
        return int(result["num_env_steps_sampled_lifetime"]), float(result["env_runners"]["episode_return_mean"])

    name = "ours" + ("-together" if together else "") + ("-capture" if capture else "")
    try:
        measure(name, train, ["rlkit-core", "rlkit-dqn", "rlkit-offpolicy", "torch", "gymnasium", "numpy"])
    finally:
        algo.stop()


if __name__ == "__main__":
    main()
