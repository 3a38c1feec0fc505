"""A stand-in for simulators on a GPU: vector envs whose state, observations and rewards are torch tensors."""

from __future__ import annotations

import torch
from counting_vectors import COMPOSED, COUNTED, Counting


class TensorCounting:
    """What :class:`counting_vectors.Counting` does, N times at once and in tensors only; it resets by itself.

    Observations and rewards are the same memory at each step, state goes on being changed in place, and so are actions.

    Args:
        finals: key of infos that has what ended episodes showed last; None: nobody is told.
        next_step: it resets in the step after an episode's end.
        flags: a step gives terminations and truncations, or (``"one"``) an end, and time-outs in its infos.
        takes_seed: whether ``reset`` does.
    """

    single_action_space = Counting.action_space

    def __init__(self, num_envs, *, composed=False, finals="final_obs", next_step=False, flags="two", takes_seed=True):
        self.num_envs, self.device = num_envs, torch.device("cpu")
        self.metadata = {"autoreset_mode": "NextStep"} if next_step else {}
        self.composed, self.finals, self.next_step, self.flags = composed, finals, next_step, flags
        self.single_observation_space = COMPOSED if composed else COUNTED
        self.episode = torch.full((num_envs,), -1)
        self.t = torch.zeros(num_envs, dtype=torch.int64)
        self.over = torch.zeros(num_envs, dtype=torch.bool)
        self.rewards = torch.zeros(num_envs)
        self.seeds = []
        if not takes_seed:
            self.reset = self._reset_all
        zeros = torch.zeros(num_envs, 2)
        self.rows = {"count": zeros, "pair": (self.t.clone(), zeros.clone())} if composed else zeros

    def _shown(self):
        count = torch.stack([self.episode.float(), self.t.float()], -1)
        return {"count": count, "pair": (self.t.clone(), count + 0.5)} if self.composed else count

    def _show(self):
        new = self._shown()
        if not self.composed:
            self.rows.copy_(new)
            return self.rows
        self.rows["count"].copy_(new["count"])
        for row, value in zip(self.rows["pair"], new["pair"], strict=True):
            row.copy_(value)
        return {**self.rows, "privileged": new["count"]}  # what no module reads

    def _begin(self, where):
        self.episode[where] += 1
        self.t[where] = 0
        self.over[where] = False

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        return self._reset_all()

    def _reset_all(self):
        self._begin(torch.ones(self.num_envs, dtype=torch.bool))
        return self._show(), {}

    def step(self, actions):
        assert actions.dtype == torch.int64
        was_over = self.over.clone()
        self.rewards.copy_(10 * self.episode + self.t + actions.sum(-1))
        actions.zero_()
        self.t += 1
        ends = self.t == 3 + self.episode % 4
        terminated, truncated = ends & (self.episode % 2 == 1), ends & (self.episode % 2 == 0)
        infos = {"t": self.t.clone(), "privileged": torch.zeros(self.num_envs)}
        if self.next_step:
            self._begin(was_over)
            self.rewards[was_over] = 7.0
            terminated, truncated = terminated & ~was_over, truncated & ~was_over
            self.over |= terminated | truncated
        else:
            if self.finals is not None:
                infos[self.finals] = self._shown()
            self._begin(ends)
        if self.flags == "one":
            return self._show(), self.rewards, ends.long(), {**infos, "time_outs": truncated}
        return self._show(), self.rewards, terminated, truncated, infos

    def close(self):
        self.rows = None
