"""Rollouts of made-up envs, and what a replay buffer must know of each of their steps, kept step by step."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from rlkit_core.data import Rollout


@dataclass
class Step:
    """One step of one env; observations are numbers that are never used twice."""

    obs: float
    action: int
    reward: float
    terminated: bool
    truncated: bool
    next_obs: float
    experience: bool = True
    first: bool = False
    state: float | None = None
    #: The next step belongs to the same episode.
    goes_on: bool = True


@dataclass
class Streams:
    """N envs that live through episodes of random lengths.

    Attributes:
        steps: for each env, all steps that were handed out, by number.
    """

    num_envs: int
    same_step: bool
    seed: int
    recurrent: int | None = None
    image: bool = False
    end: float = 0.3
    steps: list[list[Step]] = field(default_factory=list)

    def __post_init__(self):
        self.rng = np.random.default_rng(self.seed)
        self.counter = 0.0
        self.steps = [[] for _ in range(self.num_envs)]
        self.reset()

    def fresh_obs(self):
        self.counter += 1.0
        return self.counter

    def reset(self):
        """All envs begin anew; open episodes end where they are."""
        self.fresh = True
        self.obs = [self.fresh_obs() for _ in range(self.num_envs)]
        self.over = [False] * self.num_envs
        self.first = [True] * self.num_envs
        for steps in self.steps:
            if steps:
                steps[-1].goes_on = False

    def rollout(self, num_steps: int) -> Rollout:
        first_row = len(self.steps[0])
        finals = []
        for t in range(num_steps):
            for n in range(self.num_envs):
                self.steps[n].append(self.one_step(n))
                step = self.steps[n][-1]
                if self.recurrent and t % self.recurrent == 0:
                    step.state = 0.0 if step.first else step.obs + 0.5
                if self.same_step and step.truncated and not step.terminated:
                    finals.append((t * self.num_envs + n, step.next_obs))
        rows = [[steps[first_row + t] for steps in self.steps] for t in range(num_steps)]

        def column(get, dtype):
            return torch.tensor([[get(step) for step in row] for row in rows], dtype=dtype)

        obs = column(lambda s: s.obs, torch.float32)
        more = {}
        if self.recurrent:
            episode_starts = column(lambda s: s.first, torch.bool)
            episode_starts[0] = False
            states = column(lambda s: -1.0 if s.state is None else s.state, torch.float32)
            more = {
                "state_in": {"h": states[:: self.recurrent].unsqueeze(-1).clone()},
                "seq_len": self.recurrent,
                "episode_starts": episode_starts,
            }
        rollout = Rollout(
            columns={
                "obs": self.shaped(obs),
                "actions": column(lambda s: s.action, torch.int64),
                "rewards": column(lambda s: s.reward, torch.float32),
                "terminateds": column(lambda s: s.terminated, torch.bool),
                "truncateds": column(lambda s: s.truncated, torch.bool),
            },
            bootstrap_obs=self.shaped(torch.tensor(self.obs)),
            final_obs=self.shaped(torch.tensor([obs for _, obs in finals])) if finals else None,
            final_index=torch.tensor([index for index, _ in finals]) if finals else None,
            loss_mask=None if self.same_step else column(lambda s: s.experience, torch.bool),
            fresh_start=self.fresh,
            **more,
        )
        self.fresh = False
        return rollout

    def shaped(self, obs):
        """Observations as the buffer gets them: numbers, or uint8 images in a Dict beside a vector."""
        if not self.image:
            return obs.unsqueeze(-1)
        pixels = torch.stack((obs % 256, obs // 256), -1).to(torch.uint8)
        return {"pixels": pixels, "more": (obs.double(),)}

    def one_step(self, n: int) -> Step:
        obs, action = self.obs[n], int(self.rng.integers(5))
        if self.over[n]:  # the reset row of next-step reset
            self.obs[n], self.over[n], self.first[n] = self.fresh_obs(), False, True
            return Step(obs, action, 0.0, False, False, self.obs[n], experience=False, goes_on=False)
        kind = self.rng.random()
        terminated, truncated = kind < self.end / 2, self.end / 3 < kind < self.end  # both, now and then
        next_obs = self.fresh_obs()
        done = terminated or truncated
        step = Step(
            obs,
            action,
            float(self.rng.normal()),
            terminated,
            truncated,
            next_obs,
            True,
            self.first[n],
            None,
            not done,
        )
        self.first[n] = done and self.same_step
        self.over[n] = done and not self.same_step
        self.obs[n] = self.fresh_obs() if done and self.same_step else next_obs
        return step

    def window(self, number: int, n_step: int, limit: int | None = None) -> list[Step]:
        """The steps that a row sums: up to ``n_step``, fewer where the episode or the newest step is reached."""
        t, n = divmod(number, self.num_envs)
        found = []
        for step in self.steps[n][t : t + n_step]:
            found.append(step)
            if not step.goes_on or len(found) == limit:
                break
        return found


def expected(window: list[Step], gamma: float) -> tuple[float, float, float]:
    """(reward, discount, successor) of a row."""
    reward = sum(gamma**k * step.reward for k, step in enumerate(window))
    return reward, 0.0 if window[-1].terminated else gamma ** len(window), window[-1].next_obs
