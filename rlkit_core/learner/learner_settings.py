"""What learners and their group read of an algorithm's config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from rlkit_core.rl_module.module_set import ModuleConfig

SettingsT = TypeVar("SettingsT", bound="LearnerSettings")


class LearnerSettings(Protocol):
    """Settings of how modules are updated, as ``AlgorithmConfig`` declares them."""

    compile: str | None
    executor: str
    grad_clip: float | None
    grad_clip_by: str
    local_gpu_idx: int
    lr: float | list[list[float]]
    log_gradients: bool
    max_num_learner_restarts: int
    max_requests_in_flight_per_learner: int
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
