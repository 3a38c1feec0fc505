"""Evaluation: the current weights, played by runners of its own, before or beside the next training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from rlkit_core.algorithm.results import Timers
from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.errors import ConfigError
from rlkit_core.execution import Published
from rlkit_core.learner import LearnerGroup
from rlkit_core.seeding import SeedTree

EVALUATION_ENVS = 16
"""Envs of one evaluation runner, where the config's evaluation settings say nothing else."""
AUTO_STEPS = 100
"""Env steps that an evaluation of duration "auto" takes at least."""


class Evaluation:
    """The part of an Algorithm that evaluates."""

    config: Any
    iteration: int
    seeds: SeedTree
    callbacks: Any
    learner_group: LearnerGroup
    timers: Timers
    _evaluation_runners: EnvRunnerGroup | None
    _evaluation_flag: Published[None] | None = None

    def _threads(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    @property
    def eval_env_runner_group(self) -> EnvRunnerGroup | None:
        """The evaluation runners, once there was an evaluation."""
        return self._evaluation_runners

    def evaluate(self, num_episodes: int | None = None, *, seed: int | None = None) -> dict[str, Any]:
        """Play with the current weights; training's envs are not touched.

        Args:
            num_episodes: how many whole episodes; what ``evaluation_duration`` and its unit say unless given.
            seed: root of the episodes' seeds; the run's seed and the iteration unless given.

        Returns:
            ``{"env_runners": {"episode_return_mean": ..., "num_episodes": ..., ...}}`` over exactly these episodes,
            or what ``custom_evaluation_function`` returns (unless ``num_episodes`` is given).
        """
        return self.begin_evaluation(num_episodes, seed=seed, iteration=self.iteration, training=False)()

    def begin_evaluation(
        self,
        num_episodes: int | None = None,
        *,
        iteration: int,
        seed: int | None = None,
        training: bool = True,
    ) -> Callable[[], dict[str, Any]]:
        """Start :meth:`evaluate` on runners elsewhere; call what is returned to wait for the result.

        Args:
            num_episodes, seed: see :meth:`evaluate`.
            iteration: whose evaluation it is; seeds depend on it.
            training: training goes on meanwhile; a duration of "auto" lasts until the result is asked for.
        """
        config = self.config.get_evaluation_config_object()
        own = self.config.custom_evaluation_function if num_episodes is None else None
        duration = config.evaluation_duration
        in_steps = num_episodes is None and (config.evaluation_duration_unit == "timesteps" or duration == "auto")
        if num_episodes is None and not in_steps:
            num_episodes = duration
        runners = self._evaluation_group(config, num_episodes)
        self.callbacks.on_evaluate_start(self)
        with self._threads(), self.timers.time("evaluation"):
            runners.sync_weights(self.learner_group.get_weights(inference_only=True))
            seeds = SeedTree(seed) if seed is not None else self.seeds.child("evaluation", iteration)
            if own is not None:
                collect = _checked(own, self, runners)
            elif in_steps:
                steps = AUTO_STEPS * len(runners) if duration == "auto" else duration
                self._evaluation_flag = runners.flag() if duration == "auto" and training else None
                collect = runners.begin_timesteps(
                    steps,
                    explore=config.explore,
                    force_reset=config.evaluation_force_reset_envs_before_iteration,
                    until=self._evaluation_flag,
                )
            else:
                assert num_episodes is not None
                collect = runners.begin_episodes(num_episodes, explore=config.explore, seeds=seeds)

        def result() -> dict[str, Any]:
            self._end_open_evaluation()
            with self._threads(), self.timers.time("evaluation"):
                found = collect() if own is not None else {"env_runners": collect()}
            self.callbacks.on_evaluate_end(self, found)
            return found

        return result

    def _end_open_evaluation(self) -> None:
        """Tell runners that evaluate for as long as training goes on that it does not."""
        if self._evaluation_flag is not None:
            self._evaluation_flag.publish(1, None)
            self._evaluation_flag = None

    def _evaluation_group(self, config: Any, num_episodes: int | None) -> EnvRunnerGroup:
        if self._evaluation_runners is None:
            count = config.evaluation_num_env_runners
            written = "num_envs_per_env_runner" in self.config.evaluation_config
            share = EVALUATION_ENVS if num_episodes is None else -(-num_episodes // max(1, count))
            self._evaluation_runners = EnvRunnerGroup(
                config,
                seeds=self.seeds.child("evaluation"),
                num_envs=None if written else min(EVALUATION_ENVS, share),
                num_env_runners=count,
            )
        return self._evaluation_runners


def _checked(function: Callable[..., Any], algorithm: Any, runners: EnvRunnerGroup) -> Callable[[], dict[str, Any]]:
    found = function(algorithm, runners)
    if isinstance(found, tuple) and found:  # RLlib's functions return env steps and agent steps too
        found = found[0]
    if not isinstance(found, Mapping):
        raise ConfigError(
            "custom_evaluation_function(algorithm, env_runner_group) must return a dict of results, it returned "
            f"{type(found).__name__}"
        )
    return lambda: dict(found)
