"""The core's own plugin: its encoders, heads, distributions, module APIs, executors and result writers.

Registered through the hooks that anyone uses. Targets are strings, so that reading these records imports no torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from gymnasium import spaces

from rlkit_core.plugins.hookspecs import hookimpl
from rlkit_core.plugins.records import Component, ComponentRequest, ModuleAPI, Service

rlkit_api = "1.0"

#: They read the built-in settings of ``DefaultModelConfig``, and declare none beside these.
_component = functools.partial(Component, settings={})
_MODELS = "rlkit_core.models:"
_DISTRIBUTIONS = "rlkit_core.distributions:"


def _has_axes(*counts: int) -> Callable[[ComponentRequest], bool]:
    return lambda request: len(request.space.shape) in counts


def _wants_free_log_std(request: ComponentRequest) -> bool:
    return request.slot == "pi" and bool(request.model_config.get("free_log_std"))


def _if_named(request: ComponentRequest) -> bool:
    return False


@hookimpl
def rlkit_encoders() -> Iterable[Component]:
    """Encoders for every space the core serves."""
    discrete = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    return [
        _component("mlp", "encoder", _MODELS + "MLPEncoderConfig", (spaces.Box,), when=_has_axes(1)),
        _component("cnn", "encoder", _MODELS + "CNNEncoderConfig", (spaces.Box,), when=_has_axes(2, 3)),
        _component("one-hot", "encoder", _MODELS + "OneHotEncoderConfig", discrete),
        _component("multi-stream", "encoder", _MODELS + "MultiStreamEncoderConfig", (spaces.Dict, spaces.Tuple)),
    ]


@hookimpl
def rlkit_heads() -> Iterable[Component]:
    """Heads; the plain one serves any action space, since the distribution says how wide it must be."""
    return [
        _component("mlp", "head", _MODELS + "MLPHeadConfig", (spaces.Space,)),
        _component(
            "free-log-std-mlp", "head", _MODELS + "FreeLogStdMLPHeadConfig", (spaces.Box,), when=_wants_free_log_std
        ),
    ]


@hookimpl
def rlkit_distributions() -> Iterable[Component]:
    """One distribution per kind of action space, and one more for those who name it."""
    return [
        _component("categorical", "distribution", _DISTRIBUTIONS + "Categorical", (spaces.Discrete,)),
        _component("diag-gaussian", "distribution", _DISTRIBUTIONS + "DiagGaussian", (spaces.Box,)),
        _component(
            "squashed-gaussian", "distribution", _DISTRIBUTIONS + "SquashedGaussian", (spaces.Box,), when=_if_named
        ),
        _component("multi-categorical", "distribution", _DISTRIBUTIONS + "MultiCategorical", (spaces.MultiDiscrete,)),
        _component("bernoulli", "distribution", _DISTRIBUTIONS + "Bernoulli", (spaces.MultiBinary,)),
        _component("multi", "distribution", _DISTRIBUTIONS + "MultiDistribution", (spaces.Dict, spaces.Tuple)),
    ]


@hookimpl
def rlkit_module_apis() -> Iterable[ModuleAPI]:
    """The API mixins of the core, written as a third party would write theirs."""
    names = {
        "value_function": "ValueFunction",
        "q_net": "QNet",
        "target_network": "TargetNetwork",
        "self_supervised_loss": "SelfSupervisedLoss",
        "inference_only": "InferenceOnly",
    }
    return [
        ModuleAPI(name, f"rlkit_core.apis:{cls}API", f"rlkit_core.rl_module.apis.{name}:{cls}Driver")
        for name, cls in names.items()
    ]


@hookimpl
def rlkit_services() -> Iterable[Service]:
    """Actors in this process, and the files that a run writes."""
    return [
        Service("executor", "local", "rlkit_core.execution:LocalExecutor"),
        Service("writer", "csv", "rlkit_core.run.writers:CSVWriter"),
        Service("writer", "jsonl", "rlkit_core.run.writers:JSONLWriter"),
        Service("writer", "tensorboard", "rlkit_core.run.writers:TensorBoardWriter"),
    ]
