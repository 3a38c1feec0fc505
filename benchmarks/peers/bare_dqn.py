"""DQN on CartPole-v1 as CleanRL's single file has it: plain torch, a ring buffer of numpy arrays, no library.

One gymnasium vector env with its own statistics, a batch gathered by indexing five arrays and turned into tensors, a
mean squared error, Adam as it comes, and the target network copied parameter by parameter.
"""

from __future__ import annotations

from collections import deque

import gymnasium as gym
import numpy as np
import torch
from _dqn import (
    BATCH_SIZE,
    CAPACITY,
    ENV_ID,
    EPSILON,
    EPSILON_STEPS,
    GAMMA,
    HIDDENS,
    LEARNING_RATE,
    LEARNING_STARTS,
    TARGET_EVERY,
    TRAIN_EVERY,
)
from _span import Work, measure, parse_work
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from torch import nn


class QNetwork(nn.Module):
    """Observations to one value per action."""

    def __init__(self, num_inputs: int, num_actions: int) -> None:
        super().__init__()
        first, second = HIDDENS
        self.network = nn.Sequential(
            nn.Linear(num_inputs, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, num_actions),
        )

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """Values ``(B, A)``."""
        values: torch.Tensor = self.network(obs)
        return values


class RingBuffer:
    """The last transitions of one env, in numpy arrays."""

    def __init__(self, num_inputs: int) -> None:
        self.obs = np.zeros((CAPACITY, num_inputs), dtype=np.float32)
        self.next_obs = np.zeros((CAPACITY, num_inputs), dtype=np.float32)
        self.actions = np.zeros((CAPACITY, 1), dtype=np.int64)
        self.rewards = np.zeros((CAPACITY, 1), dtype=np.float32)
        self.terminated = np.zeros((CAPACITY, 1), dtype=np.float32)
        self.place, self.full = 0, False

    def add(
        self,
        obs: np.ndarray,
        next_obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
    ) -> None:
        """Write one transition over the oldest."""
        self.obs[self.place] = obs
        self.next_obs[self.place] = next_obs
        self.actions[self.place] = action
        self.rewards[self.place] = reward
        self.terminated[self.place] = terminated
        self.place += 1
        if self.place == CAPACITY:
            self.place, self.full = 0, True

    def sample(self) -> list[torch.Tensor]:
        """A batch of transitions, drawn uniformly."""
        rows = np.random.randint(0, CAPACITY if self.full else self.place, size=BATCH_SIZE)
        columns = (self.obs, self.actions, self.next_obs, self.rewards, self.terminated)
        return [torch.tensor(column[rows]) for column in columns]


class BareDQN:
    """The loop, with its env, networks and buffer built in the constructor."""

    def __init__(self, work: Work) -> None:
        torch.set_num_threads(work.threads)
        torch.manual_seed(work.seed)
        np.random.seed(work.seed)
        self.work = work
        envs = SyncVectorEnv([lambda: gym.make(ENV_ID)], autoreset_mode=AutoresetMode.SAME_STEP)
        self.envs = RecordEpisodeStatistics(envs)
        num_inputs = int(np.prod(envs.single_observation_space.shape))
        self.num_actions = int(envs.single_action_space.n)
        self.online = QNetwork(num_inputs, self.num_actions)
        self.target = QNetwork(num_inputs, self.num_actions)
        self.target.load_state_dict(self.online.state_dict())
        self.optimizer = torch.optim.Adam(self.online.parameters(), lr=LEARNING_RATE)
        self.buffer = RingBuffer(num_inputs)
        self.returns: deque[float] = deque(maxlen=100)

    def train(self) -> tuple[int, float]:
        """Train for the whole work; return the steps done and the mean of the last 100 returns."""
        obs, _ = self.envs.reset(seed=self.work.seed)
        for step in range(self.work.steps):
            actions = self.act(obs, step)
            following, rewards, terminated, truncated, infos = self.envs.step(actions)
            next_obs = following
            if terminated[0] or truncated[0]:
                next_obs = infos["final_obs"][0]
                self.returns.append(float(infos["episode"]["r"][0]))
            self.buffer.add(obs, next_obs, actions, rewards, terminated)
            obs = following
            if step >= LEARNING_STARTS:
                if step % TRAIN_EVERY == 0:
                    self.update()
                if step % TARGET_EVERY == 0:
                    self.copy_target()
        return self.work.steps, float(np.mean(self.returns)) if self.returns else float("nan")

    def act(self, obs: np.ndarray, step: int) -> np.ndarray:
        """The greedy action, or with the probability of this step a random one."""
        first, last = EPSILON
        epsilon = max(last, first + (last - first) * step / EPSILON_STEPS)
        if np.random.random() < epsilon:
            return np.random.randint(0, self.num_actions, size=1)
        with torch.no_grad():
            return self.online(torch.as_tensor(obs, dtype=torch.float32)).argmax(dim=1).numpy()

    def update(self) -> None:
        """One step on the temporal-difference error of one batch."""
        obs, actions, next_obs, rewards, terminated = self.buffer.sample()
        with torch.no_grad():
            best = self.target(next_obs).max(dim=1).values
            goals = rewards.flatten() + GAMMA * (1 - terminated.flatten()) * best
        values = self.online(obs).gather(1, actions).squeeze(1)
        loss = nn.functional.mse_loss(goals, values)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def copy_target(self) -> None:
        """The target network becomes the online one."""
        with torch.no_grad():
            for kept, new in zip(self.target.parameters(), self.online.parameters(), strict=True):
                kept.copy_(new)


if __name__ == "__main__":
    measure(BareDQN(parse_work()).train, ["torch", "gymnasium", "numpy"])
