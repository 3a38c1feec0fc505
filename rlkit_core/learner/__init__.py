"""Learning: losses, gradients, optimizers, metrics."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlkit_core.learner.episodes import rollout_from_episodes as rollout_from_episodes
    from rlkit_core.learner.group import STATE_AFTER_UPDATE as STATE_AFTER_UPDATE
    from rlkit_core.learner.group import LearnerGroup as LearnerGroup
    from rlkit_core.learner.learner import Learner as Learner
    from rlkit_core.learner.learner import TorchLearner as TorchLearner
    from rlkit_core.learner.nonfinite import replay_nonfinite as replay_nonfinite
    from rlkit_core.learner.schedule import Scheduler as Scheduler
    from rlkit_core.learner.sequences import ChunkLayout as ChunkLayout
    from rlkit_core.learner.sequences import masked_mean as masked_mean
    from rlkit_core.learner.sequences import max_seq_len as max_seq_len
    from rlkit_core.learner.sequences import train_rows as train_rows
    from rlkit_core.learner.values import values_of_rollout as values_of_rollout
    from rlkit_core.rl_module.apis.target_network import make_target_network as make_target_network
    from rlkit_core.rl_module.apis.target_network import update_target_network as update_target_network

_LAZY = {
    "STATE_AFTER_UPDATE": "rlkit_core.learner.group",
    "ChunkLayout": "rlkit_core.learner.sequences",
    "Learner": "rlkit_core.learner.learner",
    "LearnerGroup": "rlkit_core.learner.group",
    "Scheduler": "rlkit_core.learner.schedule",
    "TorchLearner": "rlkit_core.learner.learner",
    "make_target_network": "rlkit_core.rl_module.apis.target_network",
    "replay_nonfinite": "rlkit_core.learner.nonfinite",
    "rollout_from_episodes": "rlkit_core.learner.episodes",
    "masked_mean": "rlkit_core.learner.sequences",
    "max_seq_len": "rlkit_core.learner.sequences",
    "train_rows": "rlkit_core.learner.sequences",
    "update_target_network": "rlkit_core.rl_module.apis.target_network",
    "values_of_rollout": "rlkit_core.learner.values",
}

__all__ = [
    "STATE_AFTER_UPDATE",
    "ChunkLayout",
    "Learner",
    "LearnerGroup",
    "Scheduler",
    "TorchLearner",
    "make_target_network",
    "masked_mean",
    "max_seq_len",
    "replay_nonfinite",
    "rollout_from_episodes",
    "train_rows",
    "update_target_network",
    "values_of_rollout",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
