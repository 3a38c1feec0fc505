"""The core's own plugin: its encoders, heads, distributions, module APIs, executors and result writers.

Registered through the hooks that anyone uses. Targets are strings, so that reading these records imports no torch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from gymnasium import spaces

from rlkit_core.plugins.hookspecs import hookimpl
from rlkit_core.plugins.records import Component, ComponentRequest, ModuleAPI, Service

rlkit_api = "1.0"

#: They read the built-in settings of ``DefaultModelConfig``, and declare none beside these.
_component = functools.partial(Component, settings={})
_MODELS = "rlkit_core.models:"
_DISTRIBUTIONS = "rlkit_core.distributions:"


FEW_VALUES, LARGEST_GRID = 32, 64
"""A Box of so many integers at most, with sides of so many cells, holds numbers that name things."""
NO_PICTURE = 12
"""So does one of bytes with shorter sides, as the views of MiniGrid are."""


def _has_cells(request: ComponentRequest) -> bool:
    """An image or a grid, of one channel or several, or a stack of them."""
    return len(request.space.shape) in (2, 3, 4)


def _is_grid(request: ComponentRequest) -> bool:
    """Whether its numbers name things: few of them, or the bytes of what is too small to be a picture."""
    space = request.space
    if not _has_cells(request) or space.dtype.kind not in "iu" or not space.low.size:
        return False
    shape = sorted(space.shape)
    side = shape[-1] if len(shape) == 2 else shape[-2]  # the longest axis of three may be that of channels
    values = int(space.high.max()) - int(space.low.min()) + 1
    return (2 < values <= FEW_VALUES and side <= LARGEST_GRID) or (values == 256 and side <= NO_PICTURE)


def _is_image(request: ComponentRequest) -> bool:
    return _has_cells(request) and not _is_grid(request)


def _is_vector(request: ComponentRequest) -> bool:
    return not _has_cells(request)


def _wants_free_log_std(request: ComponentRequest) -> bool:
    return request.slot == "pi" and bool(request.model_config.get("free_log_std"))


def _if_named(request: ComponentRequest) -> bool:
    return False


@hookimpl
def rlkit_encoders() -> Iterable[Component]:
    """Encoders for every space the core serves."""
    discrete = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    return [
        _component("mlp", "encoder", _MODELS + "MLPEncoderConfig", (spaces.Box,), when=_is_vector),
        _component("cnn", "encoder", _MODELS + "CNNEncoderConfig", (spaces.Box,), when=_is_image),
        _component("grid", "encoder", _MODELS + "GridEncoderConfig", (spaces.Box,), when=_is_grid),
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
