"""A loss with a term of one's own, after RLlib's `examples/learners/ppo_with_custom_loss_fn.py`.

    python docs/examples/from_rllib/custom_loss.py --coefficient 0.02

A learning rate of 0.005 is too much for PPO; a weight regularizer holds the networks back.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from rlkit_ppo import PPOConfig, PPOTorchLearner


class RegularizedLearner(PPOTorchLearner):
    """PPO's loss, and the mean square of the module's weights times a coefficient."""

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        """As PPO's; the term is in the results as `weight_size`."""
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        weights = self.get_parameters(self.module[module_id])
        size = torch.stack([weight.square().mean() for weight in weights]).mean()
        self.metrics.log_value((module_id, "weight_size"), size)
        return loss + config.learner_config_dict["coefficient"] * size


def make_config(coefficient: float = 0.02) -> PPOConfig:
    """`learner_config_dict` is for settings that only the learner's class knows."""
    return (
        PPOConfig()
        .environment("CartPole-v1")
        .training(lr=5e-3, train_batch_size=1024, minibatch_size=256, num_epochs=6)
        .learners(learner_class=RegularizedLearner, learner_config_dict={"coefficient": coefficient})
        .debugging(seed=1)
    )


def main() -> None:
    """Train, and watch return and weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--coefficient", type=float, default=0.02)
    parser.add_argument("--iterations", type=int, default=30)
    args = parser.parse_args()
    with make_config(args.coefficient).build_algo() as algo:
        for _ in range(args.iterations):
            result = algo.train()
            size = result["learners"]["default_policy"]["weight_size"]
            print(f"{result['env_runners']['episode_return_mean']:>7.1f}   weight size {size:.4f}")


if __name__ == "__main__":
    main()
