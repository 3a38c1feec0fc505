"""What learners and their group read of an algorithm's config, and the device that it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch

from rlkit_core.errors import ConfigError
from rlkit_core.models.machine import warn_where_it_is_slow
from rlkit_core.rl_module.module_set import ModuleConfig

SettingsT = TypeVar("SettingsT", bound="LearnerSettings")


class LearnerSettings(Protocol):
    """Settings of how modules are updated, as ``AlgorithmConfig`` declares them."""

    compile: str | None
    executor: str
    plugin_config: dict[str, dict[str, Any]]
    grad_clip: float | None
    grad_clip_by: str
    local_gpu_idx: int
    lr: float | list[list[float]]
    log_gradients: bool
    max_num_learner_restarts: int
    max_requests_in_flight_per_learner: int
    mixed_precision: str | None
    nonfinite_dir: str | None
    num_gpus_per_learner: float
    num_learners: int
    on_nonfinite: str
    seed: int | None
    torch_lr_scheduler_classes: list[Callable[..., Any]]
    torch_threads: int | str | None

    def get_config_for_module(self: SettingsT, module_id: str) -> SettingsT:
        """The config as it is for one module."""


class GroupSettings(LearnerSettings, ModuleConfig, Protocol):
    """Those, what makes a learner, and what is asked of a config about its modules."""

    @property
    def learner_class(self) -> Callable[..., Any]:
        """Makes a Learner."""


def pick_device(config: LearnerSettings) -> torch.device:
    """The CPU, or the GPU ``local_gpu_idx`` where ``num_gpus_per_learner`` is more than 0 (a share of one is enough).

    Where ``mixed_precision`` makes that one slower, a warning says so.

    Raises:
        ConfigError: torch sees no CUDA device, or not that many.
    """
    device = _device_of(config)
    if getattr(config, "mixed_precision", None) is not None:
        warn_where_it_is_slow(device)
    return device


def _device_of(config: LearnerSettings) -> torch.device:
    wanted = getattr(config, "num_gpus_per_learner", 0)
    if not wanted:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise ConfigError(
            f"learners(num_gpus_per_learner={wanted:g}): torch {torch.__version__} ({built}) sees no CUDA device; "
            "install a CUDA build of torch and a driver, or set num_gpus_per_learner=0"
        )
    index, count = getattr(config, "local_gpu_idx", 0), torch.cuda.device_count()
    if index >= count:
        raise ConfigError(f"learners(local_gpu_idx={index}): torch sees {count} CUDA devices; use 0 to {count - 1}")
    return torch.device("cuda", index)
