"""PPO on frames as CleanRL's single file has it: plain torch, one convolutional network with two heads.

The rollout keeps frames as uint8 (CleanRL keeps floats, which is slower and takes four times the memory); every
forward makes floats of its batch, ``x / 255``.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from _frames import FC, FILTERS, Frames
from _span import measure, parse_work
from bare_ppo import BarePPO
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import nn
from torch.distributions import Categorical


def initialised(layer: nn.Linear | nn.Conv2d, gain: float) -> nn.Module:
    """The layer with orthogonal weights and no bias to begin with."""
    nn.init.orthogonal_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class ImageAgent(nn.Module):
    """A policy and a value head on one convolutional network."""

    def __init__(self, num_actions: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, size = 4, 84
        for out, kernel, stride in FILTERS:
            layers += [initialised(nn.Conv2d(channels, out, kernel, stride), 2**0.5), nn.ReLU()]
            channels, size = out, (size - kernel) // stride + 1
        layers += [nn.Flatten(), initialised(nn.Linear(channels * size * size, FC), 2**0.5), nn.ReLU()]
        self.network = nn.Sequential(*layers)
        self.actor = initialised(nn.Linear(FC, num_actions), 0.01)
        self.critic = initialised(nn.Linear(FC, 1), 1.0)

    def hidden(self, obs: torch.Tensor) -> torch.Tensor:
        """What both heads see."""
        hidden: torch.Tensor = self.network(obs.permute(0, 3, 1, 2) / 255.0)
        return hidden

    def value(self, obs: torch.Tensor) -> torch.Tensor:
        """Values ``(B, 1)``."""
        value: torch.Tensor = self.critic(self.hidden(obs))
        return value

    def act(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Sample actions; return them, their log-probabilities and the values."""
        hidden = self.hidden(obs)
        dist = Categorical(logits=self.actor(hidden))
        actions = dist.sample()
        return actions, dist.log_prob(actions), self.critic(hidden).squeeze(-1)

    def evaluate(self, obs: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log-probabilities of given actions, the entropy and the values."""
        hidden = self.hidden(obs)
        dist = Categorical(logits=self.actor(hidden))
        return dist.log_prob(actions), dist.entropy(), self.critic(hidden).squeeze(-1)


class BareImagePPO(BarePPO):
    """The loop of ``bare_ppo.py`` on frames."""

    obs_dtype = torch.uint8

    def make_envs(self) -> gym.vector.VectorEnv[Any, Any, Any]:
        """Frames instead of CartPoles."""
        return SyncVectorEnv([Frames] * self.num_envs, autoreset_mode=AutoresetMode.SAME_STEP)

    def make_agent(self, shape: tuple[int, ...], num_actions: int) -> Any:
        """Two heads on one network."""
        return ImageAgent(num_actions)


if __name__ == "__main__":
    measure(BareImagePPO(parse_work()).train, ["torch", "gymnasium", "numpy"])
