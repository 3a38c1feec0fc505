"""Data between runners and learners: rollouts in preallocated arrays, and the maths over them as pure functions."""

from __future__ import annotations

from rlkit_core.data.gae import gae
from rlkit_core.data.reward_scaling import RewardScaler
from rlkit_core.data.rollout import Rollout

__all__ = ["RewardScaler", "Rollout", "gae"]
