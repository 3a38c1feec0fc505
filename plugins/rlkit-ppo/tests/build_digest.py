"""A PPO run as one number: what it is made of and has learned. What is merely installed changes nothing of it."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from rlkit_core.algorithm.used import used_by
from rlkit_ppo import PPOConfig


def digest_of_a_run(num_env_runners=0):
    """Config, choices, lock and weights of a PPO run after two updates, hashed."""
    config = (
        PPOConfig()
        .environment("CartPole-v1")
        .training(train_batch_size=32, minibatch_size=16, num_epochs=2)
        .env_runners(num_env_runners=num_env_runners, num_envs_per_env_runner=2)
        .debugging(seed=7)
    )
    with config.build() as algorithm:
        for _ in range(2):
            algorithm.train()
        module = algorithm.learner_group.learner.module["default_policy"]
        trace = module.component_trace()
        lock = used_by(algorithm).digest()
        weights = {name: np.asarray(value) for name, value in module.get_state().items()}
    chosen = [{key: choice[key] for key in ("kind", "slot", "path", "id", "version", "rule")} for choice in trace]
    text = json.dumps([config.to_dict(), chosen, lock], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode())
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].dtype.str.encode() + weights[name].tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print("digest", digest_of_a_run())
