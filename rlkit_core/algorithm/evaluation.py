"""Evaluation: the current weights, played by runners of its own, before or beside the next training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rlkit_core.algorithm.config.config import AlgorithmConfig
from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.envs.events import RunnerEvents
from rlkit_core.errors import ConfigError
from rlkit_core.execution import Published
from rlkit_core.plugins.used.lock import Lock
from rlkit_core.plugins.used.pinned import for_modules
from rlkit_core.result_keys import NUM_EPISODES_CUT, NUM_EPISODES_FAILED
from rlkit_core.seeding import SeedTree

EVALUATION_ENVS = 16
"""Envs of one evaluation runner, where the config's evaluation settings say nothing else."""
AUTO_STEPS = 100
"""Env steps that an evaluation of duration "auto" takes at least."""
AS_LONG_AS_TRAINING = (
    "evaluation(evaluation_duration='auto') lasts as long as the training beside it, which is a matter of time; only "
    "results of evaluations depend on that"
)


class Evaluation:
    """Evaluates modules as a config says: its runners, and one evaluation on them after the other.

    Args:
        seeds: of the run.
        events: who is told of samples and envs.
        like: the runners of training, of whose components the modules here are built; none: they are chosen.
        used: see :class:`EnvRunnerGroup`.

    Attributes:
        runners: those that evaluate, once there was an evaluation.
    """

    def __init__(
        self,
        seeds: SeedTree,
        events: RunnerEvents | None = None,
        *,
        like: Callable[[], EnvRunnerGroup | None] = lambda: None,
        used: Callable[[], Lock] | None = None,
    ) -> None:
        self._seeds, self._events, self._like, self._used = seeds, events, like, used
        self._flag: Published[None] | None = None
        self._kept: Mapping[str, Any] | None = None  # what a checkpoint has of the runners
        self._first: Mapping[str, Any] | None = None  # what they had when they were made
        self._ahead = False  # they have played on since
        self._aside = False  # they have played what leaves no trace
        self.runners: EnvRunnerGroup | None = None

    def open(self, config: AlgorithmConfig, num_episodes: int | None = None) -> EnvRunnerGroup:
        """Return the runners for an evaluation, which are made at the first one.

        They have as many envs as it has episodes, up to 16 each: the evaluations of ``evaluation_interval``, if there
        are to be any. Whole episodes that somebody asks for leave no trace: what comes later is as without them.

        Args:
            config: the algorithm's, as it is now.
            num_episodes: somebody asks for so many; None: it is one that the config describes.
        """
        if self.runners is None:
            self.runners = self._make(config, None if config.evaluation_interval else num_episodes)
            self._first, self._aside = self._state_of(self.runners), self._kept is not None
        elif num_episodes is not None:
            self.get_state()  # to come back to
        if self._aside:
            state = self._kept or self._first
            assert state is not None
            self.runners.set_state(state["runners"])
        self._aside = num_episodes is not None
        self._ahead = self._ahead or not self._aside
        return self.runners

    def _make(self, config: AlgorithmConfig, num_episodes: int | None) -> EnvRunnerGroup:
        evaluating = config.get_evaluation_config_object()
        count, episodes = evaluating.evaluation_num_env_runners, _episodes(evaluating, num_episodes)
        written = "num_envs_per_env_runner" in config.evaluation_config
        share = EVALUATION_ENVS if episodes is None else -(-episodes // max(1, count))
        share = share if self._kept is None else int(self._kept["num_envs"])
        like = self._like()
        with for_modules({} if like is None else like.choices()):
            return EnvRunnerGroup(
                evaluating,
                seeds=self._seeds.child("evaluation"),
                num_envs=None if written else min(EVALUATION_ENVS, share),
                num_env_runners=count,
                events=self._events,
                used=self._used,
                role="evaluation",
            )

    def begin(
        self,
        runners: EnvRunnerGroup,
        config: AlgorithmConfig,
        num_episodes: int | None = None,
        *,
        seeds: SeedTree,
        training: bool = True,
    ) -> Callable[[], dict[str, Any]]:
        """Begin to play; call what is returned to wait for ``{"env_runners": {...}}``.

        Args:
            runners: those that :meth:`open` gave.
            config: the algorithm's, as it is now.
            num_episodes: how many whole episodes; what ``evaluation_duration`` and its unit say unless given.
            seeds: of the episodes.
            training: training goes on meanwhile; a duration of "auto" lasts until :meth:`end`.
        """
        config = config.get_evaluation_config_object()
        episodes = _episodes(config, num_episodes)
        if episodes is not None:
            play = runners.begin_episodes(episodes, explore=config.explore, seeds=seeds)
            return lambda: {"env_runners": _said_if_cut(play(), config)}
        duration = config.evaluation_duration
        self._flag = runners.flag() if duration == "auto" and training else None
        collect = runners.begin_timesteps(
            duration if isinstance(duration, int) else AUTO_STEPS * len(runners),
            explore=config.explore,
            force_reset=config.evaluation_force_reset_envs_before_iteration,
            until=self._flag,
        )
        return lambda: {"env_runners": collect()}

    def get_state(self) -> Mapping[str, Any] | None:
        """What later evaluations depend on: where the runners are; None where none has left a trace yet."""
        if self._ahead and self.runners is not None:
            self._kept, self._ahead = self._state_of(self.runners), False
        return self._kept

    @staticmethod
    def _state_of(runners: EnvRunnerGroup) -> Mapping[str, Any]:
        return {"num_envs": runners.num_envs, "runners": runners.get_state()}

    def set_state(self, state: Mapping[str, Any] | None) -> None:
        """Continue from :meth:`get_state`, when there is something to evaluate."""
        self._kept, self._ahead, self._aside = state, False, self.runners is not None

    def not_exact(self, config: AlgorithmConfig, known: Sequence[str] = ()) -> list[str]:
        """What keeps evaluations of a run that is resumed now from being equal to this one's.

        Args:
            config: the algorithm's, as it is now.
            known: what is said already.
        """
        if not config.evaluation_interval:
            return []
        evaluating = config.get_evaluation_config_object()
        reasons = [AS_LONG_AS_TRAINING] if evaluating.evaluation_duration == "auto" else []
        if self.runners is not None:
            begins_anew = evaluating.evaluation_force_reset_envs_before_iteration and not evaluating.env_runner_cls
            goes_on = _episodes(evaluating, None) is None and not begins_anew
            reasons += self.runners.not_exact(open_episodes=goes_on)
        return [f"evaluation: {reason}" for reason in reasons if reason not in known]

    @staticmethod
    def call(
        function: Callable[[Any, EnvRunnerGroup], object], algorithm: object, runners: EnvRunnerGroup
    ) -> Callable[[], dict[str, Any]]:
        """Evaluate by a ``custom_evaluation_function``, which plays here and now.

        Raises:
            ConfigError: it returned no results.
        """
        results = function(algorithm, runners)
        if isinstance(results, tuple) and results:  # RLlib's functions return env steps and agent steps too
            results = results[0]
        if not isinstance(results, Mapping):
            raise ConfigError(
                "custom_evaluation_function(algorithm, env_runner_group) must return a dict of results, it returned "
                f"{type(results).__name__}"
            )
        checked = dict(results)
        return lambda: checked

    def get_fault_metrics(self) -> dict[str, Any]:
        """``{"evaluation": counts}`` where evaluation has runners that can die, or something happened to an env."""
        counts = {} if self.runners is None else self.runners.get_fault_metrics()
        if self.runners is None or (self.runners.local_env_runner is not None and not counts["num_env_restarts"]):
            return {}
        return {"evaluation": counts}

    def end(self) -> None:
        """Tell runners that evaluate for as long as training goes on that it does not."""
        if self._flag is not None:
            self._flag.publish(1, None)
            self._flag = None


def _said_if_cut(results: dict[str, Any], config: AlgorithmConfig) -> dict[str, Any]:
    """The results of an evaluation; warnings where they are not about all episodes that were to be played."""
    failed = results[NUM_EPISODES_FAILED]
    cut, total = results[NUM_EPISODES_CUT] - failed, results[NUM_EPISODES_CUT] + results["num_episodes"]
    if failed:
        warnings.warn(
            f"{failed} of {total} evaluation episodes broke off because their env failed; returns are those of the "
            "others. What failed is in the log",
            UserWarning,
            stacklevel=4,
        )
    if cut:
        steps, seconds = config.evaluation_max_steps_per_episode, config.evaluation_sample_timeout_s
        warnings.warn(
            f"{cut} of {total} evaluation episodes did not end and were cut because they took longer than allowed "
            f"(evaluation_max_steps_per_episode={steps}, evaluation_sample_timeout_s={seconds}); returns are those of "
            "the others. Give the env a time limit (environment(env_config={'max_episode_steps': 500}) for an id of "
            "gymnasium's), or raise these bounds: evaluation(...)",
            UserWarning,
            stacklevel=4,
        )
    return results


def _episodes(config: AlgorithmConfig, num_episodes: int | None) -> int | None:
    """How many episodes are to be played; None where env steps count."""
    if num_episodes is not None:
        return num_episodes
    duration = config.evaluation_duration
    return duration if isinstance(duration, int) and config.evaluation_duration_unit == "episodes" else None
