"""Rewards for rare observations, after RLlib's `examples/connectors/classes/count_based_curiosity.py`.

    python docs/examples/from_rllib/count_based_curiosity.py --coefficient 0.02

There a connector of the learner's pipeline changes rewards. Here a driver does, which every learner calls for modules
that have its API; it sees a rollout as arrays. With `get_state` and `set_state` counts would be part of checkpoints.
"""

from __future__ import annotations

import abc
import argparse
from typing import Any

import torch

from rlkit_core import Columns, ModuleAPI, RLModuleSpec, hookimpl
from rlkit_core.learner import masked_mean
from rlkit_core.plugins.host import default_host
from rlkit_ppo import PPOConfig, PPOTorchRLModule


class CountsAPI(abc.ABC):
    """A module that wants to be paid for rare observations."""

    @abc.abstractmethod
    def cells(self, obs: torch.Tensor) -> torch.Tensor:
        """Observations [T, N, ...] to whole numbers [T, N] that stand for them."""


class CountsDriver:
    """Adds `coefficient / sqrt(times seen)` to the reward of each step."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}

    def on_rollout(self, *, learner: Any, module_id: str, module: Any, rollout: Any) -> None:
        """Count what came after each step, and pay for it in this update."""
        cells = module.cells(rollout.next_obs())
        bonus = torch.zeros(cells.shape)
        for row, column in torch.cartesian_prod(*map(torch.arange, cells.shape)).tolist():
            cell = int(cells[row, column])
            self.seen[cell] = self.seen.get(cell, 0) + 1
            bonus[row, column] = self.seen[cell] ** -0.5
        bonus *= module.model_config["coefficient"]
        rollout.columns[Columns.REWARDS] += bonus
        learner.metrics.log_value((module_id, "bonus"), masked_mean(bonus, rollout.loss_mask))
        learner.metrics.log_value((module_id, "cells_seen"), len(self.seen))


class CuriousModule(PPOTorchRLModule, CountsAPI):
    """PPO's module for an env whose observation is the number of a cell."""

    def cells(self, obs: torch.Tensor) -> torch.Tensor:
        """FrozenLake's observation is that number."""
        return obs


class Plugin:
    """What an installed plugin would have in its module of hooks."""

    rlkit_api = "1.0"

    @hookimpl
    def rlkit_module_apis(self) -> list[ModuleAPI]:
        """The API and who serves it."""
        return [ModuleAPI("counts", CountsAPI, CountsDriver)]


def make_config(coefficient: float = 0.02) -> PPOConfig:
    """FrozenLake pays 1 at the goal and nothing before."""
    host = default_host()
    if "counts" not in host.registered:
        host.register(Plugin(), name="counts")
    spec = RLModuleSpec(module_class=CuriousModule, model_config={"coefficient": coefficient})
    return (
        PPOConfig()
        .environment("FrozenLake-v1", env_config={"is_slippery": False, "map_name": "8x8", "max_episode_steps": 100})
        .training(train_batch_size=2048, minibatch_size=256, lr=1e-3, entropy_coeff=0.01)
        .rl_module(rl_module_spec=spec)
        .debugging(seed=1)
    )


def main() -> None:
    """Train, and say how much of the lake has been seen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--coefficient", type=float, default=0.02)
    parser.add_argument("--iterations", type=int, default=40)
    args = parser.parse_args()
    with make_config(args.coefficient).build_algo() as algo:
        for _ in range(args.iterations):
            result = algo.train()
            learned = result["learners"]["default_policy"]
            mean = result["env_runners"].get("episode_return_mean", 0.0)
            print(f"return {mean:.2f}   cells seen {learned['cells_seen']:.0f}   bonus {learned['bonus']:.4f}")


if __name__ == "__main__":
    main()
