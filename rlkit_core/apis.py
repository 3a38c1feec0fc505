"""The API mixins of RLModules, by their public names; they load on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlkit_core.lazy import lazy_names

_HOMES = {
    "InferenceOnlyAPI": "rlkit_core.rl_module.apis.inference_only",
    "QNetAPI": "rlkit_core.rl_module.apis.q_net",
    "SelfSupervisedLossAPI": "rlkit_core.rl_module.apis.self_supervised_loss",
    "TargetNetworkAPI": "rlkit_core.rl_module.apis.target_network",
    "ValueFunctionAPI": "rlkit_core.rl_module.apis.value_function",
}

__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from rlkit_core.rl_module.apis.inference_only import InferenceOnlyAPI as InferenceOnlyAPI
    from rlkit_core.rl_module.apis.q_net import QNetAPI as QNetAPI
    from rlkit_core.rl_module.apis.self_supervised_loss import SelfSupervisedLossAPI as SelfSupervisedLossAPI
    from rlkit_core.rl_module.apis.target_network import TargetNetworkAPI as TargetNetworkAPI
    from rlkit_core.rl_module.apis.value_function import ValueFunctionAPI as ValueFunctionAPI

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
