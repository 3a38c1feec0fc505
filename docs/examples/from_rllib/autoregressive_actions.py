"""A second action that depends on the first, after RLlib's `examples/rl_modules/classes/autoregressive_actions_rlm.py`.

    python docs/examples/from_rllib/autoregressive_actions.py

The continuous action answers the choice that is made beside it, so the choice may be drawn and the answer still fits.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from rlkit_core import Columns, RLModuleSpec, TorchRLModule
from rlkit_core.apis import ValueFunctionAPI
from rlkit_core.distributions import Categorical, DiagGaussian, MultiDistribution
from rlkit_ppo import PPOConfig


class TwoThatBelongTogether(gym.Env[np.ndarray, tuple]):
    """One step: see x, choose a in {0, 1, 2} with x + a near 1, and b with x + a + b near 0."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Tuple([gym.spaces.Discrete(3), gym.spaces.Box(-3.0, 3.0, (1,), np.float32)])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Another x."""
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1.0, 1.0, 1).astype(np.float32)
        return self.x, {}

    def step(self, action: tuple[int, np.ndarray]) -> tuple[np.ndarray, float, bool, bool, dict]:
        """What is left over is what it costs."""
        total = float(self.x[0]) + int(action[0])
        return self.x, -abs(1.0 - total) - abs(total + float(action[1][0])), True, False, {}


class Autoregressive(TorchRLModule, ValueFunctionAPI):
    """The net of the second action sees the first one."""

    def setup(self) -> None:
        """Three small networks, and the distribution of both actions together."""
        size, choices, width = self.observation_space.shape[0], self.action_space[0].n, self.model_config["width"]
        self.choices = choices
        self.first = nn.Sequential(nn.Linear(size, width), nn.Tanh(), nn.Linear(width, choices))
        self.second = nn.Sequential(nn.Linear(size + choices, width), nn.Tanh(), nn.Linear(width, 2))
        self.values = nn.Sequential(nn.Linear(size, width), nn.Tanh(), nn.Linear(width, 1))
        self.action_dist_cls = MultiDistribution.get_partial_dist_cls(
            child_distribution_cls_struct=(Categorical, DiagGaussian), input_lens=(choices, 2)
        )

    def inputs(self, obs: torch.Tensor, first: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Inputs (B, choices + 2) of both distributions, the second's for a given first action (B,)."""
        chosen = nn.functional.one_hot(first.long(), self.choices).to(obs.dtype)
        return torch.cat([logits, self.second(torch.cat([obs, chosen], -1))], -1)

    def act(self, obs: torch.Tensor, explore: bool) -> dict[str, Any]:
        """Choose one after the other."""
        logits = self.first(obs)
        first = Categorical.from_logits(logits).sample() if explore else logits.argmax(-1)
        inputs = self.inputs(obs, first, logits)
        gaussian = DiagGaussian.from_logits(inputs[..., self.choices :])
        second = gaussian.sample() if explore else gaussian.to_deterministic().sample()
        return {Columns.ACTIONS: (first, second), Columns.ACTION_DIST_INPUTS: inputs}

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self.act(batch[Columns.OBS], explore=True)

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self.act(batch[Columns.OBS], explore=False)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """For the first actions that were taken, not for new ones."""
        obs = batch[Columns.OBS]
        return {Columns.ACTION_DIST_INPUTS: self.inputs(obs, batch[Columns.ACTIONS][0], self.first(obs))}

    def compute_values(self, batch: dict[str, Any], embeddings: torch.Tensor | None = None) -> torch.Tensor:
        """Values (B,)."""
        return self.values(batch[Columns.OBS]).squeeze(-1)


def make_config() -> PPOConfig:
    """Any algorithm that asks for values would do."""
    spec = RLModuleSpec(module_class=Autoregressive, model_config={"width": 64})
    config = PPOConfig().environment(TwoThatBelongTogether).rl_module(rl_module_spec=spec).debugging(seed=1)
    return config.training(train_batch_size=2048, minibatch_size=256, lr=1e-3, gamma=0.0)


def main() -> None:
    """Train; -0.25 is the best there is."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, default=60)
    args = parser.parse_args()
    with make_config().build_algo() as algo:
        for _ in range(args.iterations):
            print(f"{algo.train()['env_runners']['episode_return_mean']:.3f}")
        print("played:", algo.evaluate(200)["env_runners"]["episode_return_mean"])


if __name__ == "__main__":
    main()
