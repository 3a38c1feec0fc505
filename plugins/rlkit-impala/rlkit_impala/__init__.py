"""IMPALA for rlkit.

Installed, it registers the algorithm ``impala`` and the catalog ``impala``::

    from rlkit_impala import IMPALAConfig

    algo = IMPALAConfig().environment("CartPole-v1").env_runners(num_env_runners=2).build_algo()
    result = algo.train()
"""

from __future__ import annotations

from rlkit_impala.batches import BatchQueue
from rlkit_impala.config import IMPALAConfig
from rlkit_impala.impala import IMPALA, IMPALATorchLearner
from rlkit_impala.rl_module import IMPALACatalog, IMPALARLModule, IMPALATorchRLModule

__all__ = [
    "IMPALA",
    "BatchQueue",
    "IMPALACatalog",
    "IMPALAConfig",
    "IMPALARLModule",
    "IMPALATorchLearner",
    "IMPALATorchRLModule",
]
__version__ = "0.1.0"
