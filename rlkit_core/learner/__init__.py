"""Learning: losses, gradients, optimizers, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlkit_core.from_rllib import refuse_name
from rlkit_core.lazy import lazy_names

if TYPE_CHECKING:
    from rlkit_core.data.foreign_episodes import rollout_from_episodes as rollout_from_episodes
    from rlkit_core.data.sequences import ChunkLayout as ChunkLayout
    from rlkit_core.data.sequences import masked_mean as masked_mean
    from rlkit_core.data.sequences import max_seq_len as max_seq_len
    from rlkit_core.data.sequences import train_rows as train_rows
    from rlkit_core.learner.group.learner_group import STATE_AFTER_UPDATE as STATE_AFTER_UPDATE
    from rlkit_core.learner.group.learner_group import LearnerGroup as LearnerGroup
    from rlkit_core.learner.learner import Learner as Learner
    from rlkit_core.learner.nonfinite_report import replay_nonfinite as replay_nonfinite
    from rlkit_core.learner.optim.schedule import Scheduler as Scheduler
    from rlkit_core.learner.torch_learner import TorchLearner as TorchLearner
    from rlkit_core.learner.values import values_of_rollout as values_of_rollout
    from rlkit_core.rl_module.apis.target_network import make_target_network as make_target_network
    from rlkit_core.rl_module.apis.target_network import update_target_network as update_target_network

_HOMES = {
    "STATE_AFTER_UPDATE": "rlkit_core.learner.group.learner_group",
    "ChunkLayout": "rlkit_core.data.sequences",
    "Learner": "rlkit_core.learner.learner",
    "LearnerGroup": "rlkit_core.learner.group.learner_group",
    "Scheduler": "rlkit_core.learner.optim.schedule",
    "TorchLearner": "rlkit_core.learner.torch_learner",
    "make_target_network": "rlkit_core.rl_module.apis.target_network",
    "replay_nonfinite": "rlkit_core.learner.nonfinite_report",
    "rollout_from_episodes": "rlkit_core.data.foreign_episodes",
    "masked_mean": "rlkit_core.data.sequences",
    "max_seq_len": "rlkit_core.data.sequences",
    "train_rows": "rlkit_core.data.sequences",
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

__getattr__, __dir__ = lazy_names(__name__, _HOMES, refuse=refuse_name)
