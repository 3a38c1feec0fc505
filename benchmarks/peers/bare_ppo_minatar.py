"""PPO on MinAtar's Breakout as a single file has it: the score that rlkit's PPO has to reach on the same budget.

The settings are those CleanRL publishes for Atari (8 envs, 128 steps, 4 epochs of 4 minibatches, clipping at 0.1,
entropy 0.01, a learning rate that falls to nothing); the network is MinAtar's. An episode that is cut by its time limit
counts as ended, as such scripts have it. Run once, alone:

    cd benchmarks
    OMP_NUM_THREADS=1 python peers/bare_ppo_minatar.py --json results/bare-ppo-MinAtar-Breakout-v1.json
"""

from __future__ import annotations

import numpy as np
import torch
from _minatar import Order, body, make_envs, parse_order, planes, run
from torch import nn
from torch.distributions import Categorical

SETTINGS = {
    "envs": 8,
    "rollout": 128,
    "epochs": 4,
    "minibatch": 256,
    "lr": 2.5e-4,
    "lr_falls_to": 0.0,
    "gamma": 0.99,
    "lambda": 0.95,
    "clip": 0.1,
    "value_coeff": 0.5,
    "entropy_coeff": 0.01,
    "max_grad_norm": 0.5,
    "adam_eps": 1e-5,
}
NUM_ENVS, NUM_STEPS = int(SETTINGS["envs"]), int(SETTINGS["rollout"])
GAMMA, LAMBDA, CLIP = SETTINGS["gamma"], SETTINGS["lambda"], SETTINGS["clip"]


class Agent(nn.Module):
    """A policy and a value head on one body, orthogonally initialised."""

    def __init__(self, channels: int, num_actions: int) -> None:
        super().__init__()
        self.body = body(channels)
        self.policy, self.value = nn.Linear(128, num_actions), nn.Linear(128, 1)
        gains = {self.policy: 0.01, self.value: 1.0}
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.orthogonal_(layer.weight, gains.get(layer, 2**0.5))
                nn.init.zeros_(layer.bias)

    def forward(self, obs: torch.Tensor) -> tuple[Categorical, torch.Tensor]:
        """The action distribution and the values ``(B,)``."""
        hidden = self.body(obs)
        return Categorical(logits=self.policy(hidden)), self.value(hidden).squeeze(-1)


class BareMinAtarPPO:
    """The loop, with its envs, network and storage built in the constructor."""

    def __init__(self, order: Order) -> None:
        torch.manual_seed(order.seed)
        self.order = order
        self.envs = make_envs(NUM_ENVS)
        height, width, channels = self.envs.single_observation_space.shape
        self.agent = Agent(channels, int(self.envs.single_action_space.n))
        self.optimizer = torch.optim.Adam(self.agent.parameters(), lr=SETTINGS["lr"], eps=SETTINGS["adam_eps"])
        shape = (NUM_STEPS, NUM_ENVS)
        self.obs = torch.zeros(*shape, channels, height, width)
        self.actions = torch.zeros(shape, dtype=torch.int64)
        self.logps, self.values, self.rewards, self.ended = (torch.zeros(shape) for _ in range(4))

    def scores(self, obs: torch.Tensor) -> torch.Tensor:
        """Logits, for the final score."""
        return self.agent(obs)[0].logits

    def train(self) -> None:
        """Train for the whole order."""
        frames, _ = self.envs.reset(seed=self.order.seed)
        iterations = max(1, self.order.steps // (NUM_STEPS * NUM_ENVS))
        for iteration in range(iterations):
            self.optimizer.param_groups[0]["lr"] = SETTINGS["lr"] * (1.0 - iteration / iterations)
            frames = self.sample(frames)
            self.update(self.advantages(planes(frames)))

    @torch.no_grad()
    def sample(self, frames: np.ndarray) -> np.ndarray:
        """Fill the storage with one rollout; return the frames that follow it."""
        for t in range(NUM_STEPS):
            self.obs[t] = planes(frames)
            dist, self.values[t] = self.agent(self.obs[t])
            self.actions[t] = dist.sample()
            self.logps[t] = dist.log_prob(self.actions[t])
            frames, rewards, terminated, truncated, _ = self.envs.step(self.actions[t].numpy())
            self.rewards[t] = torch.as_tensor(rewards)
            self.ended[t] = torch.as_tensor(terminated | truncated)
        return frames

    @torch.no_grad()
    def advantages(self, next_obs: torch.Tensor) -> torch.Tensor:
        """Generalised advantage estimates, backwards in time."""
        following = self.agent(next_obs)[1]
        advantages, last = torch.zeros_like(self.rewards), torch.zeros(NUM_ENVS)
        for t in reversed(range(NUM_STEPS)):
            going_on = 1.0 - self.ended[t]
            delta = self.rewards[t] + GAMMA * following * going_on - self.values[t]
            last = delta + GAMMA * LAMBDA * going_on * last
            advantages[t], following = last, self.values[t]
        return advantages

    def update(self, advantages: torch.Tensor) -> None:
        """Some epochs of shuffled minibatches over the rollout."""
        obs, actions, logps = self.obs.flatten(0, 1), self.actions.flatten(), self.logps.flatten()
        targets, advantages = (advantages + self.values).flatten(), advantages.flatten()
        for _ in range(int(SETTINGS["epochs"])):
            for rows in torch.randperm(len(actions)).split(int(SETTINGS["minibatch"])):
                dist, values = self.agent(obs[rows])
                advantage = advantages[rows]
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                ratio = (dist.log_prob(actions[rows]) - logps[rows]).exp()
                gain = torch.min(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()
                value_loss = 0.5 * (values - targets[rows]).square().mean()
                loss = SETTINGS["value_coeff"] * value_loss - gain
                loss = loss - SETTINGS["entropy_coeff"] * dist.entropy().mean()
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.agent.parameters(), SETTINGS["max_grad_norm"])
                self.optimizer.step()


if __name__ == "__main__":
    torch.set_num_threads(1)
    ORDER = parse_order()
    run("bare-ppo", ORDER, SETTINGS, BareMinAtarPPO(ORDER))
