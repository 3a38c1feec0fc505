"""DQN on MinAtar's Breakout as a single file has it: the score that rlkit's DQN has to reach on the same budget.

The settings are those of MinAtar's paper (Young and Tian 2019: 100,000 transitions, a target copied every 1,000 steps,
minibatches of 32, epsilon from 1 to 0.1 over 100,000 steps, learning from step 5,000), with Adam for its RMSprop and an
update every 4 steps, as CleanRL has them for Atari. Run once, alone:

    cd benchmarks
    OMP_NUM_THREADS=1 python peers/bare_dqn_minatar.py --json results/bare-dqn-MinAtar-Breakout-v1.json
"""

from __future__ import annotations

import numpy as np
import torch
from _minatar import Order, body, make_envs, parse_order, planes, run
from torch import nn

SETTINGS = {
    "envs": 1,
    "buffer": 100_000,
    "learning_starts": 5_000,
    "train_every": 4,
    "batch": 32,
    "lr": 2.5e-4,
    "gamma": 0.99,
    "target_every": 1_000,
    "epsilon": (1.0, 0.1),
    "epsilon_steps": 100_000,
}


class BareMinAtarDQN:
    """The loop, with its env, networks and ring buffer built in the constructor."""

    def __init__(self, order: Order) -> None:
        torch.manual_seed(order.seed)
        self.order, self.random = order, np.random.default_rng(order.seed)
        self.envs = make_envs(1)
        shape = self.envs.single_observation_space.shape
        self.num_actions = int(self.envs.single_action_space.n)
        self.online, self.target = (nn.Sequential(body(shape[-1]), nn.Linear(128, self.num_actions)) for _ in range(2))
        self.target.load_state_dict(self.online.state_dict())
        self.optimizer = torch.optim.Adam(self.online.parameters(), lr=SETTINGS["lr"])
        capacity = min(SETTINGS["buffer"], order.steps)
        self.obs, self.next_obs = (np.zeros((capacity, *shape), dtype=bool) for _ in range(2))
        self.actions = np.zeros(capacity, dtype=np.int64)
        self.rewards, self.ended = (np.zeros(capacity, dtype=np.float32) for _ in range(2))

    def scores(self, obs: torch.Tensor) -> torch.Tensor:
        """Q values, for the final score."""
        return self.online(obs)

    def train(self) -> None:
        """Train for the whole order."""
        frame, _ = self.envs.reset(seed=self.order.seed)
        for step in range(self.order.steps):
            action = self.act(frame, step)
            following, reward, terminated, truncated, infos = self.envs.step(action)
            successor = infos["final_obs"][0] if (terminated | truncated)[0] else following[0]
            row = step % len(self.actions)
            self.obs[row], self.next_obs[row], self.actions[row] = frame[0], successor, action[0]
            self.rewards[row], self.ended[row] = reward[0], terminated[0]
            frame = following
            if step >= SETTINGS["learning_starts"]:
                if step % SETTINGS["train_every"] == 0:
                    self.update(self.random.integers(min(step + 1, len(self.actions)), size=SETTINGS["batch"]))
                if step % SETTINGS["target_every"] == 0:
                    self.target.load_state_dict(self.online.state_dict())

    def act(self, frame: np.ndarray, step: int) -> np.ndarray:
        """The greedy action, or with the probability of this step a random one."""
        first, last = SETTINGS["epsilon"]
        epsilon = max(last, first + (last - first) * step / SETTINGS["epsilon_steps"])
        if self.random.random() < epsilon:
            return self.random.integers(self.num_actions, size=1)
        with torch.no_grad():
            return self.online(planes(frame)).argmax(-1).numpy()

    def update(self, rows: np.ndarray) -> None:
        """One step on the temporal-difference error of these transitions."""
        rewards, ended = torch.as_tensor(self.rewards[rows]), torch.as_tensor(self.ended[rows])
        with torch.no_grad():
            best = self.target(planes(self.next_obs[rows])).max(-1).values
            goals = rewards + SETTINGS["gamma"] * (1.0 - ended) * best
        chosen = torch.as_tensor(self.actions[rows]).unsqueeze(-1)
        values = self.online(planes(self.obs[rows])).gather(-1, chosen).squeeze(-1)
        loss = nn.functional.smooth_l1_loss(values, goals)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


if __name__ == "__main__":
    torch.set_num_threads(1)
    ORDER = parse_order()
    run("bare-dqn", ORDER, SETTINGS, BareMinAtarDQN(ORDER))
