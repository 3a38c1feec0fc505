"""PPO on CartPole-v1 as one writes it by hand in an afternoon: plain torch, no library.

``torch.distributions``, two ``nn.Sequential`` networks, gymnasium's synchronous vector env, a loop over time
for the advantages, Adam as it comes and ``clip_grad_norm_``. An episode that ends by its time limit counts as
ended, as such scripts have it.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from _span import (
    CLIP,
    ENTROPY_COEFF,
    ENV_ID,
    GAMMA,
    HIDDENS,
    LAMBDA,
    LEARNING_RATE,
    MAX_GRAD_NORM,
    MINIBATCH_SIZE,
    NUM_ENVS,
    NUM_EPOCHS,
    NUM_STEPS,
    VALUE_COEFF,
    Work,
    measure,
    parse_work,
)
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import nn
from torch.distributions import Categorical


def mlp(num_inputs: int, num_outputs: int, last_gain: float) -> nn.Sequential:
    """A tanh network with orthogonal weights and a linear last layer."""
    sizes = [num_inputs, *HIDDENS]
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        linear = nn.Linear(fan_in, fan_out)
        nn.init.orthogonal_(linear.weight, 2**0.5)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.Tanh()]
    head = nn.Linear(sizes[-1], num_outputs)
    nn.init.orthogonal_(head.weight, last_gain)
    nn.init.zeros_(head.bias)
    return nn.Sequential(*layers, head)


class Agent(nn.Module):
    """A policy and a value function that share nothing."""

    def __init__(self, num_inputs: int, num_actions: int) -> None:
        super().__init__()
        self.policy = mlp(num_inputs, num_actions, 0.01)
        self.value = mlp(num_inputs, 1, 1.0)

    def act(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Sample actions; return them, their log-probabilities and the values."""
        dist = Categorical(logits=self.policy(obs))
        actions = dist.sample()
        return actions, dist.log_prob(actions), self.value(obs).squeeze(-1)

    def evaluate(self, obs: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log-probabilities of given actions, the entropy and the values."""
        dist = Categorical(logits=self.policy(obs))
        return dist.log_prob(actions), dist.entropy(), self.value(obs).squeeze(-1)


class BarePPO:
    """The loop, with its envs, networks and storage built in the constructor."""

    obs_dtype = torch.float32
    num_envs, num_steps, minibatch_size = NUM_ENVS, NUM_STEPS, MINIBATCH_SIZE

    def __init__(self, work: Work) -> None:
        torch.set_num_threads(work.threads)
        torch.manual_seed(work.seed)
        self.work = work
        self.rollout = self.num_envs * self.num_steps
        self.iterations = max(1, work.steps // self.rollout)
        self.envs = self.make_envs()
        space: Any = self.envs.single_action_space
        seen = self.envs.single_observation_space.shape or ()
        self.agent = self.make_agent(seen, int(space.n))
        self.optimizer = torch.optim.Adam(self.agent.parameters(), lr=LEARNING_RATE)
        shape = self.num_steps, self.num_envs
        self.obs = torch.zeros(*shape, *seen, dtype=self.obs_dtype)
        self.actions = torch.zeros(shape, dtype=torch.int64)
        self.logps = torch.zeros(shape)
        self.values = torch.zeros(shape)
        self.rewards = torch.zeros(shape)
        self.dones = torch.zeros(shape)
        self.running_return = np.zeros(self.num_envs)
        self.returns: deque[float] = deque(maxlen=100)

    def make_envs(self) -> gym.vector.VectorEnv[Any, Any, Any]:
        """Gymnasium's synchronous vector env."""
        return SyncVectorEnv(
            [lambda: gym.make(ENV_ID) for _ in range(self.num_envs)], autoreset_mode=AutoresetMode.SAME_STEP
        )

    def make_agent(self, shape: tuple[int, ...], num_actions: int) -> Any:
        """Two networks for such observations."""
        return Agent(int(np.prod(shape)), num_actions)

    def train(self) -> tuple[int, float]:
        """Train for the whole work; return the steps done and the mean of the last 100 returns."""
        first, _ = self.envs.reset(seed=self.work.seed)
        next_obs = torch.as_tensor(first, dtype=self.obs_dtype)
        next_done = torch.zeros(self.num_envs)
        steps = 0
        for _ in range(self.iterations):
            next_obs, next_done = self.sample(next_obs, next_done)
            steps += self.steps_taken()
            self.update(self.advantages(next_obs, next_done))
        return steps, float(np.mean(self.returns)) if self.returns else float("nan")

    @torch.no_grad()
    def sample(self, next_obs: torch.Tensor, next_done: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Fill the storage with one rollout; return the observation and done flag that follow it."""
        for t in range(self.num_steps):
            self.obs[t], self.dones[t] = next_obs, next_done
            self.actions[t], self.logps[t], self.values[t] = self.agent.act(next_obs)
            obs, reward, terminated, truncated, _ = self.envs.step(self.actions[t].numpy())
            done = terminated | truncated
            self.rewards[t] = torch.as_tensor(reward, dtype=torch.float32)
            next_obs = torch.as_tensor(obs, dtype=self.obs_dtype)
            next_done = torch.as_tensor(done, dtype=torch.float32)
            self.running_return += reward
            if done.any():
                self.returns.extend(self.running_return[done])
                self.running_return[done] = 0.0
        return next_obs, next_done

    @torch.no_grad()
    def advantages(self, next_obs: torch.Tensor, next_done: torch.Tensor) -> torch.Tensor:
        """Generalised advantage estimates, backwards in time."""
        next_value = self.agent.value(next_obs).squeeze(-1)
        advantages = torch.zeros_like(self.rewards)
        last = torch.zeros(self.num_envs)
        for t in reversed(range(self.num_steps)):
            going_on = 1.0 - (next_done if t == self.num_steps - 1 else self.dones[t + 1])
            following = next_value if t == self.num_steps - 1 else self.values[t + 1]
            delta = self.rewards[t] + GAMMA * following * going_on - self.values[t]
            last = delta + GAMMA * LAMBDA * going_on * last
            advantages[t] = last
        return advantages

    def update(self, advantages: torch.Tensor) -> None:
        """Four epochs of minibatches over the rollout."""
        targets = (advantages + self.values).reshape(-1)
        advantages = advantages.reshape(-1)
        obs = self.obs.reshape(self.rollout, *self.obs.shape[2:])
        actions, logps = self.actions.reshape(-1), self.logps.reshape(-1)
        for _ in range(NUM_EPOCHS):
            for rows in self.shuffled_rows().split(self.minibatch_size):
                logp, entropy, value = self.agent.evaluate(obs[rows], actions[rows])
                advantage = advantages[rows]
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                ratio = (logp - logps[rows]).exp()
                clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
                policy_loss = -torch.min(ratio * advantage, clipped * advantage).mean()
                value_loss = nn.functional.mse_loss(value, targets[rows])
                loss = policy_loss + VALUE_COEFF * value_loss - ENTROPY_COEFF * entropy.mean()
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.agent.parameters(), MAX_GRAD_NORM)
                self.optimizer.step()

    def steps_taken(self) -> int:
        """Env steps of the rollout."""
        return self.rollout

    def shuffled_rows(self) -> torch.Tensor:
        """Indices of all steps in a random order."""
        return torch.randperm(self.rollout)


if __name__ == "__main__":
    measure(BarePPO(parse_work()).train, ["torch", "gymnasium", "numpy"])
