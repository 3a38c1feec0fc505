"""rlkit: reinforcement learning in PyTorch from plugins.

Importing this package is cheap: no torch, no gymnasium, no plugin code. Public names load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlkit_core._version import __version__
from rlkit_core.lazy import lazy_names

_IDS = ("ACTOR", "ALL_MODULES", "CRITIC", "DEFAULT_AGENT_ID", "DEFAULT_MODULE_ID", "DEFAULT_POLICY_ID", "ENCODER_OUT")
_RESULT_KEYS = (
    "AGENT_EPISODE_RETURNS_MEAN",
    "ENV_RUNNER_RESULTS",
    "EPISODE_DURATION_SEC_MEAN",
    "EPISODE_LEN_MAX",
    "EPISODE_LEN_MEAN",
    "EPISODE_LEN_MIN",
    "EPISODE_RETURN_MAX",
    "EPISODE_RETURN_MEAN",
    "EPISODE_RETURN_MIN",
    "EVALUATION_RESULTS",
    "FAULT_TOLERANCE_STATS",
    "IS_SUCCESS_MEAN",
    "LEARNER_RESULTS",
    "MODULE_EPISODE_RETURNS_MEAN",
    "NUM_ENV_STEPS_SAMPLED",
    "NUM_ENV_STEPS_SAMPLED_LIFETIME",
    "NUM_EPISODES",
    "NUM_EPISODES_CUT",
    "NUM_EPISODES_FAILED",
    "NUM_EPISODES_LIFETIME",
    "NUM_MODULE_STEPS_TRAINED",
    "NUM_MODULE_STEPS_TRAINED_LIFETIME",
    "NUM_NON_TRAINABLE_PARAMETERS",
    "NUM_TRAINABLE_PARAMETERS",
    "NUM_TRAINING_STEP_CALLS_PER_ITERATION",
    "STOPPED_BY",
    "TIMERS",
    "TRAINING_ITERATION",
    "WEIGHTS_SEQ_NO",
)
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
    "TorchLearner": "rlkit_core.learner",
    "TorchRLModule": "rlkit_core.rl_module",
    "get_algorithm_config": "rlkit_core.algorithm",
    "hookimpl": "rlkit_core.plugins.hookspecs",
    "load_policy": "rlkit_core.run.policy.load",
    **dict.fromkeys(_IDS, "rlkit_core.columns"),
    **dict.fromkeys(_RESULT_KEYS, "rlkit_core.result_keys"),
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
    from rlkit_core.columns import ACTOR as ACTOR
    from rlkit_core.columns import ALL_MODULES as ALL_MODULES
    from rlkit_core.columns import CRITIC as CRITIC
    from rlkit_core.columns import DEFAULT_AGENT_ID as DEFAULT_AGENT_ID
    from rlkit_core.columns import DEFAULT_MODULE_ID as DEFAULT_MODULE_ID
    from rlkit_core.columns import DEFAULT_POLICY_ID as DEFAULT_POLICY_ID
    from rlkit_core.columns import ENCODER_OUT as ENCODER_OUT
    from rlkit_core.columns import Columns as Columns
    from rlkit_core.distributions import Distribution as Distribution
    from rlkit_core.learner import Learner as Learner
    from rlkit_core.learner import LearnerGroup as LearnerGroup
    from rlkit_core.learner import TorchLearner as TorchLearner
    from rlkit_core.models.default_config import DefaultModelConfig as DefaultModelConfig
    from rlkit_core.plugins.hookspecs import hookimpl as hookimpl
    from rlkit_core.plugins.host import PluginHost as PluginHost
    from rlkit_core.plugins.records import Component as Component
    from rlkit_core.plugins.records import ComponentRequest as ComponentRequest
    from rlkit_core.plugins.records import ModuleAPI as ModuleAPI
    from rlkit_core.plugins.records import Service as Service
    from rlkit_core.result_keys import AGENT_EPISODE_RETURNS_MEAN as AGENT_EPISODE_RETURNS_MEAN
    from rlkit_core.result_keys import ENV_RUNNER_RESULTS as ENV_RUNNER_RESULTS
    from rlkit_core.result_keys import EPISODE_DURATION_SEC_MEAN as EPISODE_DURATION_SEC_MEAN
    from rlkit_core.result_keys import EPISODE_LEN_MAX as EPISODE_LEN_MAX
    from rlkit_core.result_keys import EPISODE_LEN_MEAN as EPISODE_LEN_MEAN
    from rlkit_core.result_keys import EPISODE_LEN_MIN as EPISODE_LEN_MIN
    from rlkit_core.result_keys import EPISODE_RETURN_MAX as EPISODE_RETURN_MAX
    from rlkit_core.result_keys import EPISODE_RETURN_MEAN as EPISODE_RETURN_MEAN
    from rlkit_core.result_keys import EPISODE_RETURN_MIN as EPISODE_RETURN_MIN
    from rlkit_core.result_keys import EVALUATION_RESULTS as EVALUATION_RESULTS
    from rlkit_core.result_keys import FAULT_TOLERANCE_STATS as FAULT_TOLERANCE_STATS
    from rlkit_core.result_keys import IS_SUCCESS_MEAN as IS_SUCCESS_MEAN
    from rlkit_core.result_keys import LEARNER_RESULTS as LEARNER_RESULTS
    from rlkit_core.result_keys import MODULE_EPISODE_RETURNS_MEAN as MODULE_EPISODE_RETURNS_MEAN
    from rlkit_core.result_keys import NUM_ENV_STEPS_SAMPLED as NUM_ENV_STEPS_SAMPLED
    from rlkit_core.result_keys import NUM_ENV_STEPS_SAMPLED_LIFETIME as NUM_ENV_STEPS_SAMPLED_LIFETIME
    from rlkit_core.result_keys import NUM_EPISODES as NUM_EPISODES
    from rlkit_core.result_keys import NUM_EPISODES_CUT as NUM_EPISODES_CUT
    from rlkit_core.result_keys import NUM_EPISODES_FAILED as NUM_EPISODES_FAILED
    from rlkit_core.result_keys import NUM_EPISODES_LIFETIME as NUM_EPISODES_LIFETIME
    from rlkit_core.result_keys import NUM_MODULE_STEPS_TRAINED as NUM_MODULE_STEPS_TRAINED
    from rlkit_core.result_keys import NUM_MODULE_STEPS_TRAINED_LIFETIME as NUM_MODULE_STEPS_TRAINED_LIFETIME
    from rlkit_core.result_keys import NUM_NON_TRAINABLE_PARAMETERS as NUM_NON_TRAINABLE_PARAMETERS
    from rlkit_core.result_keys import NUM_TRAINABLE_PARAMETERS as NUM_TRAINABLE_PARAMETERS
    from rlkit_core.result_keys import NUM_TRAINING_STEP_CALLS_PER_ITERATION as NUM_TRAINING_STEP_CALLS_PER_ITERATION
    from rlkit_core.result_keys import STOPPED_BY as STOPPED_BY
    from rlkit_core.result_keys import TIMERS as TIMERS
    from rlkit_core.result_keys import TRAINING_ITERATION as TRAINING_ITERATION
    from rlkit_core.result_keys import WEIGHTS_SEQ_NO as WEIGHTS_SEQ_NO
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


def _refuse(name: str) -> object:
    from rlkit_core.from_rllib import refuse_name

    return refuse_name(name)


__getattr__, __dir__ = lazy_names(__name__, _HOMES, refuse=_refuse)
