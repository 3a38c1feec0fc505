"""The conformance kit, and example modules and environments to test with and to copy; they load on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlkit_core.from_rllib import refuse_name
from rlkit_core.lazy import lazy_names

_HOMES = {
    "BC": "rlkit_core.testing.bc_algorithm",
    "BCConfigTest": "rlkit_core.testing.bc_algorithm",
    "BCTorchLearner": "rlkit_core.testing.bc_algorithm",
    "BCTorchMultiAgentModuleWithSharedEncoder": "rlkit_core.testing.bc_module",
    "BCTorchRLModuleWithSharedGlobalEncoder": "rlkit_core.testing.bc_module",
    "DiscreteBCTorchModule": "rlkit_core.testing.bc_module",
    "MOBILENET_INPUT_SHAPE": "rlkit_core.testing.mobilenet",
    "MobileNetV2EncoderConfig": "rlkit_core.testing.mobilenet",
    "MultiAgentCartPole": "rlkit_core.testing.multi_agent",
    "MultiAgentEnv": "rlkit_core.envs.multi_agent.dict_env",
    "RandomEnv": "rlkit_core.testing.random_env",
    "StatelessCartPole": "rlkit_core.testing.stateless_cartpole",
    "TensorCartPole": "rlkit_core.testing.tensor_cartpole",
    "check_algorithm": "rlkit_core.testing.kit.checks",
    "check_catalog": "rlkit_core.testing.kit.checks",
    "check_env": "rlkit_core.envs.trial.check_env",
    "check_plugin": "rlkit_core.testing.kit.plugin",
    "check_rl_module": "rlkit_core.testing.kit.checks",
    "make_multi_agent": "rlkit_core.envs.multi_agent.copies",
}

__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from rlkit_core.envs.multi_agent.copies import make_multi_agent as make_multi_agent
    from rlkit_core.envs.multi_agent.dict_env import MultiAgentEnv as MultiAgentEnv
    from rlkit_core.envs.trial.check_env import check_env as check_env
    from rlkit_core.testing.bc_algorithm import BC as BC
    from rlkit_core.testing.bc_algorithm import BCConfigTest as BCConfigTest
    from rlkit_core.testing.bc_algorithm import BCTorchLearner as BCTorchLearner
    from rlkit_core.testing.bc_module import (
        BCTorchMultiAgentModuleWithSharedEncoder as BCTorchMultiAgentModuleWithSharedEncoder,
    )
    from rlkit_core.testing.bc_module import (
        BCTorchRLModuleWithSharedGlobalEncoder as BCTorchRLModuleWithSharedGlobalEncoder,
    )
    from rlkit_core.testing.bc_module import DiscreteBCTorchModule as DiscreteBCTorchModule
    from rlkit_core.testing.kit.checks import check_algorithm as check_algorithm
    from rlkit_core.testing.kit.checks import check_catalog as check_catalog
    from rlkit_core.testing.kit.checks import check_rl_module as check_rl_module
    from rlkit_core.testing.kit.plugin import check_plugin as check_plugin
    from rlkit_core.testing.mobilenet import MOBILENET_INPUT_SHAPE as MOBILENET_INPUT_SHAPE
    from rlkit_core.testing.mobilenet import MobileNetV2EncoderConfig as MobileNetV2EncoderConfig
    from rlkit_core.testing.multi_agent import MultiAgentCartPole as MultiAgentCartPole
    from rlkit_core.testing.random_env import RandomEnv as RandomEnv
    from rlkit_core.testing.stateless_cartpole import StatelessCartPole as StatelessCartPole
    from rlkit_core.testing.tensor_cartpole import TensorCartPole as TensorCartPole

__getattr__, __dir__ = lazy_names(__name__, _HOMES, refuse=refuse_name)
