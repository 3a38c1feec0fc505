"""RLModules, their specs and the actor-critic module."""

from __future__ import annotations

from typing import Any

from rlkit_core.from_rllib import refuse_name
from rlkit_core.rl_module.acting import ActionSampler
from rlkit_core.rl_module.base import RLModule
from rlkit_core.rl_module.config import RLModuleConfig
from rlkit_core.rl_module.members import validate_module_id
from rlkit_core.rl_module.multi import MultiRLModule
from rlkit_core.rl_module.spec import MultiRLModuleConfig, MultiRLModuleSpec, RLModuleSpec
from rlkit_core.rl_module.tensor_specs import TensorSpec
from rlkit_core.rl_module.torch_module import TorchRLModule

# Older names of the same classes.
MultiAgentRLModule = MultiRLModule
MultiAgentRLModuleSpec = MultiRLModuleSpec
MultiAgentRLModuleConfig = MultiRLModuleConfig
SingleAgentRLModuleSpec = RLModuleSpec

__all__ = [
    "ActionSampler",
    "ActorCriticTorchRLModule",
    "MultiAgentRLModule",
    "MultiAgentRLModuleConfig",
    "MultiAgentRLModuleSpec",
    "MultiRLModule",
    "MultiRLModuleConfig",
    "MultiRLModuleSpec",
    "RLModule",
    "RLModuleConfig",
    "RLModuleSpec",
    "SingleAgentRLModuleSpec",
    "TensorSpec",
    "TorchRLModule",
    "validate_module_id",
]


def __getattr__(name: str) -> Any:
    if name == "ActorCriticTorchRLModule":
        from rlkit_core.rl_module.actor_critic import ActorCriticTorchRLModule

        return ActorCriticTorchRLModule
    instead = refuse_name(name)
    if instead is not None:
        return instead
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
