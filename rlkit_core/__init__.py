"""rlkit: reinforcement learning in PyTorch from plugins.

Importing this package is cheap: no torch, no gymnasium, no plugin code. Public names load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlkit_core._version import __version__
from rlkit_core.lazy import lazy_names

_HOMES = {
    "ActorCriticCatalog": "rlkit_core.catalog",
    "ActorCriticTorchRLModule": "rlkit_core.rl_module.actor_critic",
    "Algorithm": "rlkit_core.algorithm",
    "AlgorithmConfig": "rlkit_core.algorithm",
    "Catalog": "rlkit_core.catalog",
    "Columns": "rlkit_core.columns",
    "Component": "rlkit_core.plugins.records",
    "ComponentRequest": "rlkit_core.plugins.records",
    "DefaultCallbacks": "rlkit_core.algorithm.callbacks",
    "DefaultModelConfig": "rlkit_core.models.default_config",
    "Distribution": "rlkit_core.distributions",
    "Learner": "rlkit_core.learner",
    "LearnerGroup": "rlkit_core.learner",
    "ModuleAPI": "rlkit_core.plugins.records",
    "MultiRLModule": "rlkit_core.rl_module",
    "MultiRLModuleConfig": "rlkit_core.rl_module",
    "MultiRLModuleSpec": "rlkit_core.rl_module",
    "PluginHost": "rlkit_core.plugins.host",
    "PolicySpec": "rlkit_core.algorithm.config.policies",
    "Run": "rlkit_core.run.run",
    "Service": "rlkit_core.plugins.records",
    "RLModule": "rlkit_core.rl_module",
    "RLlibCallback": "rlkit_core.algorithm.callbacks",
    "RLModuleConfig": "rlkit_core.rl_module",
    "RLModuleSpec": "rlkit_core.rl_module",
    "Stop": "rlkit_core.run.stop",
    "TorchRLModule": "rlkit_core.rl_module",
    "get_algorithm_config": "rlkit_core.algorithm",
    "hookimpl": "rlkit_core.plugins.hookspecs",
    "load_policy": "rlkit_core.run.policy.load",
}

__all__ = ["__version__", *sorted(_HOMES)]

if TYPE_CHECKING:
    from rlkit_core.algorithm import Algorithm as Algorithm
    from rlkit_core.algorithm import AlgorithmConfig as AlgorithmConfig
    from rlkit_core.algorithm import get_algorithm_config as get_algorithm_config
    from rlkit_core.algorithm.callbacks import DefaultCallbacks as DefaultCallbacks
    from rlkit_core.algorithm.callbacks import RLlibCallback as RLlibCallback
    from rlkit_core.algorithm.config.policies import PolicySpec as PolicySpec
    from rlkit_core.catalog import ActorCriticCatalog as ActorCriticCatalog
    from rlkit_core.catalog import Catalog as Catalog
    from rlkit_core.columns import Columns as Columns
    from rlkit_core.distributions import Distribution as Distribution
    from rlkit_core.learner import Learner as Learner
    from rlkit_core.learner import LearnerGroup as LearnerGroup
    from rlkit_core.models.default_config import DefaultModelConfig as DefaultModelConfig
    from rlkit_core.plugins.hookspecs import hookimpl as hookimpl
    from rlkit_core.plugins.host import PluginHost as PluginHost
    from rlkit_core.plugins.records import Component as Component
    from rlkit_core.plugins.records import ComponentRequest as ComponentRequest
    from rlkit_core.plugins.records import ModuleAPI as ModuleAPI
    from rlkit_core.plugins.records import Service as Service
    from rlkit_core.rl_module import MultiRLModule as MultiRLModule
    from rlkit_core.rl_module import MultiRLModuleConfig as MultiRLModuleConfig
    from rlkit_core.rl_module import MultiRLModuleSpec as MultiRLModuleSpec
    from rlkit_core.rl_module import RLModule as RLModule
    from rlkit_core.rl_module import RLModuleConfig as RLModuleConfig
    from rlkit_core.rl_module import RLModuleSpec as RLModuleSpec
    from rlkit_core.rl_module import TorchRLModule as TorchRLModule
    from rlkit_core.rl_module.actor_critic import ActorCriticTorchRLModule as ActorCriticTorchRLModule
    from rlkit_core.run.policy.load import load_policy as load_policy
    from rlkit_core.run.run import Run as Run
    from rlkit_core.run.stop import Stop as Stop


def _refuse(name: str) -> None:
    from rlkit_core.from_rllib import refuse_name

    refuse_name(name)


__getattr__, __dir__ = lazy_names(__name__, _HOMES, refuse=_refuse)
