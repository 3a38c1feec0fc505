"""Data between runners and learners: rollouts in preallocated arrays, and the maths over them as pure functions."""

from __future__ import annotations

from rlkit_core.data.gae import gae
from rlkit_core.data.n_step import NStepReturns, n_step_returns
from rlkit_core.data.projection import categorical_projection
from rlkit_core.data.replay.buffer import ReplayBuffer
from rlkit_core.data.replay.prioritized import PrioritizedReplayBuffer, sequence_priorities
from rlkit_core.data.replay.sampling import DISCOUNT, N_STEP, WEIGHTS, with_successor
from rlkit_core.data.rollout import Rollout
from rlkit_core.data.vtrace import vtrace

__all__ = [
    "DISCOUNT",
    "N_STEP",
    "WEIGHTS",
    "NStepReturns",
    "PrioritizedReplayBuffer",
    "ReplayBuffer",
    "Rollout",
    "categorical_projection",
    "gae",
    "n_step_returns",
    "sequence_priorities",
    "vtrace",
    "with_successor",
]
