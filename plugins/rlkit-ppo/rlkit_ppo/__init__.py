"""Proximal Policy Optimization for rlkit.

Installed, it registers the algorithm ``ppo`` and the catalog ``ppo``::

    from rlkit_ppo import PPOConfig

    algo = PPOConfig().environment("CartPole-v1").build_algo()
    result = algo.train()
"""

from __future__ import annotations

from rlkit_ppo.config import PPOConfig
from rlkit_ppo.ppo import PPO, PPOTorchLearner
from rlkit_ppo.rl_module import PPOCatalog, PPORLModule, PPOTorchRLModule

__all__ = ["PPO", "PPOCatalog", "PPOConfig", "PPORLModule", "PPOTorchLearner", "PPOTorchRLModule"]
__version__ = "0.1.0"
