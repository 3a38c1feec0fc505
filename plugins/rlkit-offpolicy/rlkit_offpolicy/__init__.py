"""What off-policy algorithms of rlkit have in common: replay buffers, n-step returns, the training loop, settings.

An algorithm subclasses :class:`OffPolicyConfig` and names a Learner and a module; :class:`OffPolicyAlgorithm` does the
rest::

    @attrs.define
    class ToyConfig(OffPolicyConfig):
        algo_class = OffPolicyAlgorithm
        default_learner_class = "my_toy.toy:ToyLearner"
        default_module_class = "my_toy.toy:ToyModule"
"""

from __future__ import annotations

from rlkit_offpolicy.algorithm import TD_ERROR, OffPolicyAlgorithm
from rlkit_offpolicy.config import OffPolicyConfig, replay_buffer_setting
from rlkit_offpolicy.n_step import NStepReturns, n_step_returns
from rlkit_offpolicy.replay.buffer import ReplayBuffer
from rlkit_offpolicy.replay.prioritized import PrioritizedReplayBuffer, sequence_priorities
from rlkit_offpolicy.replay.sampling import DISCOUNT, N_STEP, NEW, WEIGHTS, successor_batch, with_successor
from rlkit_offpolicy.warmup import RandomWarmup, random_actions

__all__ = [
    "DISCOUNT",
    "NEW",
    "N_STEP",
    "TD_ERROR",
    "WEIGHTS",
    "NStepReturns",
    "OffPolicyAlgorithm",
    "OffPolicyConfig",
    "PrioritizedReplayBuffer",
    "RandomWarmup",
    "ReplayBuffer",
    "n_step_returns",
    "random_actions",
    "replay_buffer_setting",
    "sequence_priorities",
    "successor_batch",
    "with_successor",
]
__version__ = "0.1.0"
