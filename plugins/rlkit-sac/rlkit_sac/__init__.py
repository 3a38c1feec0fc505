"""Soft actor-critic for rlkit.

Installed, it registers the algorithm ``sac`` and the catalog ``sac``::

    from rlkit_sac import SACConfig

    algo = SACConfig().environment("Pendulum-v1").build_algo()
    result = algo.train()
"""

from __future__ import annotations

from rlkit_sac.config import SACConfig
from rlkit_sac.rl_module import SACCatalog, SACRLModule, SACTorchRLModule
from rlkit_sac.sac import SAC, SACTorchLearner

__all__ = ["SAC", "SACCatalog", "SACConfig", "SACRLModule", "SACTorchLearner", "SACTorchRLModule"]
__version__ = "0.1.0"
