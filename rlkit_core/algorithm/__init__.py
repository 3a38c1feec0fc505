"""Algorithms: their configs, their training loop, and the runs they make."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlkit_core.algorithm.algorithm import Algorithm as Algorithm
    from rlkit_core.algorithm.config.config import AlgorithmConfig as AlgorithmConfig
    from rlkit_core.algorithm.config.policies import PolicySpec as PolicySpec

_LAZY = {
    "Algorithm": ("rlkit_core.algorithm.algorithm", "Algorithm"),
    "AlgorithmConfig": ("rlkit_core.algorithm.config.config", "AlgorithmConfig"),
    "PolicySpec": ("rlkit_core.algorithm.config.policies", "PolicySpec"),
    "redeclare": ("rlkit_core.settings", "redeclare"),
    "setting": ("rlkit_core.settings", "setting"),
}

__all__ = ["Algorithm", "AlgorithmConfig", "PolicySpec", "get_algorithm_config", "redeclare", "setting"]


def get_algorithm_config(name: str) -> Any:
    """A fresh config of an installed algorithm, with its defaults and no preset.

    Args:
        name: as registered in the entry-point group ``rlkit.algorithms``: ``"ppo"``.

    Returns:
        An instance of the algorithm's ``AlgorithmConfig`` subclass.

    Raises:
        PluginNotFoundError: nothing installed registers that name.
        PluginError: what registers it fails to load.
    """
    from rlkit_core.plugins.host import default_host

    return default_host().get_algorithm_config_class(name)()


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)
