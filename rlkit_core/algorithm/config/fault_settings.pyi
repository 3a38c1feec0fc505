# Made by `python tests/helpers/settings_stubs.py rlkit_core.algorithm.config.fault_settings`; not to be edited.
from collections.abc import Callable
from collections.abc import Mapping
from enum import Enum
from rlkit_core.algorithm.config.sections import CoreSettings
from rlkit_core.settings import SectionedSettings
from typing import Any
from typing_extensions import Self
import attrs

@attrs.define(slots=False, kw_only=True)
class FaultSettings(CoreSettings):
    evaluation_max_steps_per_episode: int | None = ...
    evaluation_sample_timeout_s: float | None = ...
    restart_failed_sub_environments: bool = ...
    max_num_sub_environment_restarts: int = ...
    sub_environment_timeout_s: float | None = ...
    restart_failed_env_runners: bool = ...
    max_num_env_runner_restarts: int = ...
    ignore_env_runner_failures: bool = ...
    max_num_learner_restarts: int = ...
    def env_runners(
        self,
        *,
        env_runner_cls: type[Any] | str | None = ...,
        num_env_runners: int = ...,
        max_requests_in_flight_per_env_runner: int = ...,
        num_envs_per_env_runner: int = ...,
        gym_env_vectorize_mode: str | Enum = ...,
        rollout_fragment_length: int | str = ...,
        batch_mode: str = ...,
        explore: bool = ...,
        exploration_noise: str | Mapping[str, Any] | None = ...,
        restart_failed_sub_environments: bool = ...,
    ) -> Self: ...
    def evaluation(
        self,
        *,
        evaluation_interval: int | None = ...,
        evaluation_duration: int | str = ...,
        evaluation_duration_unit: str = ...,
        evaluation_force_reset_envs_before_iteration: bool = ...,
        custom_evaluation_function: Callable[..., Any] | None = ...,
        evaluation_config: Mapping[str, Any] | SectionedSettings | None = ...,
        evaluation_num_env_runners: int = ...,
        evaluation_parallel_to_training: bool = ...,
        evaluation_max_steps_per_episode: int | None = ...,
        evaluation_sample_timeout_s: float | None = ...,
    ) -> Self: ...
    def fault_tolerance(
        self,
        *,
        restart_failed_sub_environments: bool = ...,
        max_num_sub_environment_restarts: int = ...,
        sub_environment_timeout_s: float | None = ...,
        restart_failed_env_runners: bool = ...,
        max_num_env_runner_restarts: int = ...,
        ignore_env_runner_failures: bool = ...,
        max_num_learner_restarts: int = ...,
    ) -> Self: ...
