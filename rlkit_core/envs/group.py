"""The EnvRunnerGroup: one runner here, or several behind an executor; callers do not see which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlkit_core.data.rollout import Rollout
from rlkit_core.envs.runner import EnvRunner, Spaces
from rlkit_core.errors import ConfigError
from rlkit_core.execution import ActorHandle, Executor, LocalExecutor
from rlkit_core.learner.weights import Weights
from rlkit_core.seeding import SeedTree


class EnvRunnerGroup:
    """Runners that sample with the same weights.

    Args:
        config: the algorithm's config.
        executor: where runners run; this process unless given.
        seeds: node of the seed tree; runner k draws from its child ``("env_runner", k)``.
        num_envs: envs per runner; the config's unless given.

    Raises:
        ConfigError: ``num_env_runners`` is more than the executor here can serve.
    """

    def __init__(
        self,
        config: Any,
        *,
        executor: Executor | None = None,
        seeds: SeedTree | None = None,
        num_envs: int | None = None,
    ) -> None:
        if config.num_env_runners:
            raise ConfigError(
                f"num_env_runners={config.num_env_runners}: this version samples in its own process only; use 0"
            )
        self._executor = executor or LocalExecutor()
        seeds = seeds or SeedTree.from_seed(config.seed)
        self._actors: list[ActorHandle] = [
            self._executor.spawn(
                EnvRunner, config, worker_index=0, seeds=seeds.child("env_runner", 0), num_envs=num_envs
            )
        ]

    def __len__(self) -> int:
        return len(self._actors)

    def __bool__(self) -> bool:
        return True

    @property
    def local_env_runner(self) -> EnvRunner:
        """The runner in this process."""
        runner: EnvRunner = self._actors[0].instance  # type: ignore[attr-defined]
        return runner

    def get_spaces(self) -> Spaces:
        """``{module id: (observation space, action space)}``."""
        return self._first("get_spaces")  # type: ignore[no-any-return]

    def sample(self, **kwargs: Any) -> dict[str, Rollout]:
        """:meth:`EnvRunner.sample` on the runners: ``{module id: rollout}``."""
        return self._first("sample", **kwargs)  # type: ignore[no-any-return]

    def run_episodes(self, num_episodes: int, **kwargs: Any) -> dict[str, Any]:
        """:meth:`EnvRunner.run_episodes`: result keys over exactly these episodes."""
        return self._first("run_episodes", num_episodes, **kwargs)  # type: ignore[no-any-return]

    def sync_weights(self, weights: Weights) -> None:
        """Let every runner act with ``weights``."""
        for future in [actor.call("set_weights", weights) for actor in self._actors]:
            future.result()

    def reset_envs(self) -> None:
        """Let every runner begin with fresh episodes."""
        for future in [actor.call("reset_envs") for actor in self._actors]:
            future.result()

    def get_metrics(self) -> dict[str, Any]:
        """Result keys of ``env_runners`` since the last call."""
        return self._first("get_metrics")  # type: ignore[no-any-return]

    def foreach_env_runner(self, func: Callable[[EnvRunner], Any]) -> list[Any]:
        """``func(runner)`` for each runner."""
        return [func(self.local_env_runner)]

    def _first(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._actors[0].call(method, *args, **kwargs).result()

    def get_state(self) -> dict[str, Any]:
        """``{"0": state of runner 0, ...}``."""
        return {str(k): actor.call("get_state").result() for k, actor in enumerate(self._actors)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`get_state`."""
        for k, actor in enumerate(self._actors):
            if str(k) in state:
                actor.call("set_state", state[str(k)]).result()

    def stop(self) -> None:
        """Stop every runner."""
        self._executor.stop()
