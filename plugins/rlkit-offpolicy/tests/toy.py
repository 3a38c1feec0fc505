"""A small off-policy algorithm for continuous actions: a critic of state and action, and actions of a Gaussian."""

from __future__ import annotations

import attrs
import gymnasium as gym
import numpy as np
import torch
from torch import nn

from rlkit_core import Columns, Learner, RLModuleSpec
from rlkit_core.data.sequences import masked_mean
from rlkit_core.settings import redeclare
from rlkit_offpolicy import (
    DISCOUNT,
    NEW,
    TD_ERROR,
    WEIGHTS,
    OffPolicyAlgorithm,
    OffPolicyConfig,
    RandomWarmup,
    replay_buffer_setting,
    sequence_priorities,
)


class Line(gym.Env):
    """Moves by its action; episodes of 7 steps, the last truncated. ``info`` and rewards tell the action."""

    observation_space = gym.spaces.Box(-100.0, 100.0, (2,), np.float32)
    action_space = gym.spaces.Box(np.float32([-2.0, 0.0]), np.float32([2.0, 6.0]))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.x = 0, self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.x, {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.t += 1
        self.x = (self.x + 0.1 * action).astype(np.float32)
        return self.x, float(action.sum()), False, self.t >= 7, {}


class ToyModule(RandomWarmup):
    """Actions near 0.25, and a value of state and action."""

    def setup(self):
        self.value = nn.Linear(4, 1)

    def _forward(self, batch, **kwargs):
        obs = batch[Columns.OBS]
        return {Columns.ACTION_DIST_INPUTS: torch.cat((torch.full_like(obs, 0.25), torch.full_like(obs, -5.0)), -1)}

    def _forward_train(self, batch, **kwargs):
        taken = torch.cat((batch[Columns.OBS], batch[Columns.ACTIONS]), -1)
        after = torch.cat((batch[NEW + Columns.OBS], batch[Columns.ACTIONS]), -1)
        with torch.no_grad():
            bootstrap = self.value(after).squeeze(-1)
        return {"q": self.value(taken).squeeze(-1), "next_q": bootstrap}


class ToyLearner(Learner):
    """Squared TD errors."""

    seen = []

    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        errors = fwd_out["q"] - (batch[Columns.REWARDS] + batch[DISCOUNT] * fwd_out["next_q"])
        self.seen.append((module_id, {name: tuple(getattr(x, "shape", ())) for name, x in batch.items()}))
        mask, losses = batch.get(Columns.LOSS_MASK), errors.square()
        if WEIGHTS in batch:
            rows = errors.detach().abs()
            self.log_rows(module_id, TD_ERROR, rows if mask is None else sequence_priorities(rows, mask))
            losses = losses * batch[WEIGHTS]
        return masked_mean(losses, mask)


@attrs.define
class ToyConfig(OffPolicyConfig):
    """A uniform buffer and a small batch unless said."""

    algo_class = OffPolicyAlgorithm

    replay_buffer_config: dict = replay_buffer_setting("uniform", capacity=1000)
    train_batch_size: int = redeclare(OffPolicyConfig, "train_batch_size", 8)
    num_steps_sampled_before_learning_starts: int = redeclare(
        OffPolicyConfig, "num_steps_sampled_before_learning_starts", 20
    )

    def get_default_learner_class(self):
        return ToyLearner

    def get_default_rl_module_spec(self):
        return RLModuleSpec(module_class=ToyModule)


def toy(env=Line, **training):
    return ToyConfig().environment(env).training(**training).learners(compile=None).debugging(seed=1)
