"""SAC on Pendulum-v1 in the style of CleanRL's single file: plain torch, numpy arrays as a buffer, no library.

Two critics, a learned temperature, an update after every step; every network is stepped in each.
"""

from __future__ import annotations

import copy
import math
from collections import deque

import gymnasium as gym
import numpy as np
import torch
from _sac import BATCH_SIZE, CAPACITY, ENV_ID, GAMMA, HIDDENS, LEARNING_RATE, LEARNING_STARTS, TAU
from _span import Work, measure, parse_work
from torch import nn
from torch.nn import functional as F


def mlp(num_inputs: int, num_outputs: int) -> nn.Sequential:
    """Two relu layers and a linear one."""
    first, second = HIDDENS
    layers = (nn.Linear(num_inputs, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(second, num_outputs))


class BareSAC:
    """Networks, optimizers and buffer; :meth:`update` is one step of all three."""

    def __init__(self, work: Work) -> None:
        torch.set_num_threads(work.threads)
        torch.manual_seed(work.seed)
        np.random.seed(work.seed)
        self.work = work
        self.env = gym.make(ENV_ID)
        (inputs,), (outputs,) = self.env.observation_space.shape, self.env.action_space.shape
        self.scale = float(self.env.action_space.high[0])
        self.actor = mlp(inputs, 2 * outputs)
        self.critics = nn.ModuleList([mlp(inputs + outputs, 1), mlp(inputs + outputs, 1)])
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_alpha = torch.zeros((), requires_grad=True)
        self.target_entropy = -float(outputs)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=LEARNING_RATE)
        self.critic_optimizer = torch.optim.Adam(self.critics.parameters(), lr=LEARNING_RATE)
        self.alpha_optimizer = torch.optim.Adam([self.log_alpha], lr=LEARNING_RATE)
        widths = (("obs", inputs), ("next_obs", inputs), ("actions", outputs), ("rewards", 1), ("over", 1))
        self.buffer = {name: np.zeros((CAPACITY, width), np.float32) for name, width in widths}
        self.stored = 0

    def draw(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Actions in [-1, 1] with their log-probabilities."""
        mean, log_std = self.actor(obs).chunk(2, -1)
        normal = torch.distributions.Normal(mean, log_std.clamp(-20, 2).exp(), validate_args=False)
        u = normal.rsample()
        slope = 2 * (math.log(2.0) - u - F.softplus(-2 * u))
        return u.tanh(), (normal.log_prob(u) - slope).sum(-1, keepdim=True)

    def sample(self) -> dict[str, torch.Tensor]:
        """A batch of what is stored."""
        rows = np.random.randint(0, self.stored, BATCH_SIZE)
        return {name: torch.from_numpy(column[rows]) for name, column in self.buffer.items()}

    def update(self, batch: dict[str, torch.Tensor]) -> None:
        """One step of critics, actor, temperature and targets."""
        alpha = self.log_alpha.detach().exp()
        with torch.no_grad():
            actions, logp = self.draw(batch["next_obs"])
            following = torch.cat((batch["next_obs"], actions), -1)
            soft = torch.minimum(*(target(following) for target in self.targets)) - alpha * logp
            goals = batch["rewards"] + GAMMA * (1 - batch["over"]) * soft
        taken = torch.cat((batch["obs"], batch["actions"]), -1)
        critic_loss = sum(0.5 * F.mse_loss(critic(taken), goals) for critic in self.critics)
        self.critic_optimizer.zero_grad()
        critic_loss.backward()
        self.critic_optimizer.step()
        self.critics.requires_grad_(False)  # the actor's loss is for the actor alone
        actions, logp = self.draw(batch["obs"])
        chosen = torch.cat((batch["obs"], actions), -1)
        actor_loss = (alpha * logp - torch.minimum(*(critic(chosen) for critic in self.critics))).mean()
        self.actor_optimizer.zero_grad()
        actor_loss.backward()
        self.actor_optimizer.step()
        self.critics.requires_grad_(True)
        alpha_loss = -(self.log_alpha * (logp.detach() + self.target_entropy)).mean()
        self.alpha_optimizer.zero_grad()
        alpha_loss.backward()
        self.alpha_optimizer.step()
        with torch.no_grad():
            for online, target in zip(self.critics.parameters(), self.targets.parameters(), strict=True):
                target.lerp_(online, TAU)

    def train(self) -> tuple[int, float]:
        """The whole work: ``(steps, mean return of the last episodes)``."""
        returns: deque[float] = deque(maxlen=20)
        obs, _ = self.env.reset(seed=self.work.seed)
        total = 0.0
        for step in range(self.work.steps):
            if step < LEARNING_STARTS:
                action = np.random.uniform(-1, 1, 1).astype(np.float32)
            else:
                with torch.no_grad():
                    action = self.draw(torch.from_numpy(obs)[None])[0][0].numpy()
            next_obs, reward, terminated, truncated, _ = self.env.step(action * self.scale)
            row = {"obs": obs, "next_obs": next_obs, "actions": action, "rewards": reward, "over": terminated}
            for name, value in row.items():
                self.buffer[name][self.stored % CAPACITY] = value
            self.stored += 1
            obs, total = next_obs, total + float(reward)
            if terminated or truncated:
                returns.append(total)
                obs, _ = self.env.reset()
                total = 0.0
            if self.stored >= LEARNING_STARTS:
                self.update(self.sample())
        return self.work.steps, float(np.mean(returns)) if returns else float("nan")


if __name__ == "__main__":
    measure(BareSAC(parse_work()).train, ["torch", "gymnasium", "numpy"])
