"""The bare loop on gymnasium's CartPole that steps as arrays.

Such an env begins an episode in a step of its own, whose action counts for nothing: those rows are not learned from.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from _span import ENV_ID, measure, parse_work
from _vector import MINIBATCH_SIZE, NUM_ENVS, NUM_STEPS
from bare_ppo import BarePPO


class BareVectorPPO(BarePPO):
    """The loop of ``bare_ppo.py`` with 1,024 envs."""

    num_envs, num_steps, minibatch_size = NUM_ENVS, NUM_STEPS, MINIBATCH_SIZE

    def make_envs(self) -> gym.vector.VectorEnv[Any, Any, Any]:
        """The env's own vector class."""
        return gym.make_vec(ENV_ID, num_envs=self.num_envs, vectorization_mode="vector_entry_point")

    def steps_taken(self) -> int:
        """Steps that an action decided."""
        return int((self.dones == 0).sum())

    def shuffled_rows(self) -> torch.Tensor:
        """Indices of those in a random order."""
        rows = (self.dones.view(-1) == 0).nonzero().squeeze(1)
        return rows[torch.randperm(len(rows))]


if __name__ == "__main__":
    measure(BareVectorPPO(parse_work()).train, ["torch", "gymnasium", "numpy"])
