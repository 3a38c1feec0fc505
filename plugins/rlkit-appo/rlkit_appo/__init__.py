"""Asynchronous PPO for rlkit.

Installed, it registers the algorithm ``appo`` and the catalog ``appo``::

    from rlkit_appo import APPOConfig

    algo = APPOConfig().environment("CartPole-v1").env_runners(num_env_runners=2).build_algo()
    result = algo.train()
"""

from __future__ import annotations

from rlkit_appo.appo import APPO, APPOTorchLearner
from rlkit_appo.circular_buffer import CircularBuffer
from rlkit_appo.config import APPOConfig
from rlkit_appo.rl_module import APPOCatalog, APPORLModule, APPOTorchRLModule

__all__ = [
    "APPO",
    "APPOCatalog",
    "APPOConfig",
    "APPORLModule",
    "APPOTorchLearner",
    "APPOTorchRLModule",
    "CircularBuffer",
]
__version__ = "0.1.0"
