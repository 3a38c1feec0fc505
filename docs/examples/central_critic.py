"""A central critic: agents act on what each of them sees, and one critic on learners sees the state of the whole env.

    python docs/examples/central_critic.py --steps 300000

needs `pip install "rlkit-core[multi-agent]" rlkit-ppo`. The env's `state()` comes as a column of every rollout, because
the modules name it among their input columns. PPO's loss is untouched: it asks modules for values as always.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import nn

from rlkit_core import Columns, MultiRLModule, MultiRLModuleSpec, RLModule, RLModuleSpec
from rlkit_core.apis import InferenceOnlyAPI
from rlkit_ppo import PPOConfig, PPOTorchRLModule

ENV = "mpe2/simple_spread_v3"


class Actor(PPOTorchRLModule):
    """PPO's module with a borrowed critic in place of a value head of its own."""

    critic: nn.Module

    def setup(self) -> None:
        """Encoder and policy head only."""
        super().setup()
        del self.vf

    def get_non_inference_attributes(self) -> list[str]:
        """Acting needs no critic."""
        return ["critic"]

    def compute_values(self, batch: dict[str, Any], embeddings: torch.Tensor | None = None) -> torch.Tensor:
        """Values (B,) of the env's state, as the agent with this observation sees it."""
        values: torch.Tensor = self.critic(torch.cat([batch[Columns.ENV_STATE], batch[Columns.OBS]], -1))
        return values.squeeze(-1)


class CentralCritic(MultiRLModule, InferenceOnlyAPI):
    """Actors that share one critic; `model_config` has the size of the state and of the critic's layers."""

    critic: nn.Module

    def build_member(self, module_id: str, spec: RLModuleSpec) -> RLModule:
        """An actor; on learners it is lent the critic."""
        actor: Any = super().build_member(module_id, spec)
        actor.input_columns = (*actor.input_columns, Columns.ENV_STATE)
        if not actor.inference_only:
            if not hasattr(self, "critic"):
                self.critic = self.make_critic(actor.observation_space.shape[0])
            actor.critic = self.critic
        return actor

    def get_non_inference_attributes(self) -> list[str]:
        """The critic lives on learners."""
        return ["critic"]

    def make_critic(self, observation_size: int) -> nn.Module:
        """Two layers on the state and one agent's observation."""
        size, width = self.model_config["state_size"] + observation_size, self.model_config["critic_width"]
        return nn.Sequential(nn.Linear(size, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))


def make_config(steps: int = 300_000) -> PPOConfig:
    """The settings of rlkit-ppo's preset for this env, with the critic in the middle."""
    spec = MultiRLModuleSpec(
        multi_rl_module_class=CentralCritic,
        rl_module_specs=RLModuleSpec(
            module_class=Actor, model_config={"fcnet_hiddens": [64, 64], "vf_share_layers": True}
        ),
        model_config={"state_size": 54, "critic_width": 128},
    )
    return (
        PPOConfig()
        .environment(ENV)
        .env_runners(num_envs_per_env_runner=8)
        .rl_module(rl_module_spec=spec)
        .training(
            train_batch_size=1024,
            minibatch_size=256,
            num_epochs=10,
            lr=[[0, 1e-3], [steps, 1e-4]],
            gamma=0.95,
            lambda_=0.95,
            entropy_coeff=0.005,
        )
    )


def main() -> None:
    """Train and say how well it plays."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with make_config(args.steps).debugging(seed=args.seed).build() as algorithm:
        while algorithm.num_env_steps_sampled_lifetime < args.steps:
            result = algorithm.train()
            if algorithm.iteration % 20 == 0:
                now = result["env_runners"]
                print(f"{now['num_env_steps_sampled_lifetime']:>9,} steps: {now['episode_return_mean']:.1f}")
        print(algorithm.evaluate(100)["env_runners"]["episode_return_mean"])


if __name__ == "__main__":
    main()
