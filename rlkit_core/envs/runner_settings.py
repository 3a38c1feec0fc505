"""What runners and their group read of an algorithm's config."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from rlkit_core.rl_module.module_set import ModuleConfig

if TYPE_CHECKING:
    import gymnasium as gym


class RunnerSettings(ModuleConfig, Protocol):
    """Settings of the environment and of how experience is collected, as ``AlgorithmConfig`` declares them."""

    env: str | type[Any] | Callable[..., Any] | None
    env_config: dict[str, Any]
    observation_space: gym.Space[Any] | None
    action_space: gym.Space[Any] | None
    clip_rewards: bool | float | None
    disable_env_checking: bool
    executor: str
    explore: bool
    gym_env_vectorize_mode: str
    ignore_env_runner_failures: bool
    info_metrics: list[str]
    max_num_env_runner_restarts: int
    max_requests_in_flight_per_env_runner: int
    metrics_num_episodes_for_smoothing: int
    num_env_runners: int
    num_envs_per_env_runner: int
    restart_failed_env_runners: bool
    seed: int | None

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int:
        """Steps that each env of a runner takes in one sample."""
