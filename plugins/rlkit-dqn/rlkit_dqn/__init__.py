"""DQN and its extensions up to Rainbow for rlkit.

Installed, it registers the algorithm ``dqn`` and the catalog ``dqn``::

    from rlkit_dqn import DQNConfig

    algo = DQNConfig().environment("CartPole-v1").build_algo()
    result = algo.train()
"""

from __future__ import annotations

from rlkit_dqn.config import DQNConfig
from rlkit_dqn.dqn import DQN, DQNTorchLearner
from rlkit_dqn.noisy import NoisyLinear, NoisyMLPHeadConfig
from rlkit_dqn.rl_module import DQNCatalog, DQNRLModule, DQNTorchRLModule

__all__ = [
    "DQN",
    "DQNCatalog",
    "DQNConfig",
    "DQNRLModule",
    "DQNTorchLearner",
    "DQNTorchRLModule",
    "NoisyLinear",
    "NoisyMLPHeadConfig",
]
__version__ = "0.1.0"
