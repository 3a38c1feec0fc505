"""Algorithms: their configs, their training loop, and the runs they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlkit_core.lazy import lazy_names

if TYPE_CHECKING:
    from rlkit_core.algorithm.algorithm import Algorithm as Algorithm
    from rlkit_core.algorithm.config.config import AlgorithmConfig as AlgorithmConfig
    from rlkit_core.algorithm.config.policies import PolicySpec as PolicySpec
    from rlkit_core.settings import redeclare as redeclare
    from rlkit_core.settings import setting as setting

_HOMES = {
    "Algorithm": "rlkit_core.algorithm.algorithm",
    "AlgorithmConfig": "rlkit_core.algorithm.config.config",
    "PolicySpec": "rlkit_core.algorithm.config.policies",
    "redeclare": "rlkit_core.settings",
    "setting": "rlkit_core.settings",
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


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
