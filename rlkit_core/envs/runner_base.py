"""What all runners have: config, seeds, modules and their weights, statistics, and how a sample is asked for."""

from __future__ import annotations

import abc
import logging
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from torch import Tensor

from rlkit_core.columns import DEFAULT_AGENT_ID
from rlkit_core.data.rollout import Rollout
from rlkit_core.envs.acting_modules import ActingModules, Spaces
from rlkit_core.envs.agent_stats import StepCounts
from rlkit_core.envs.episodes import EpisodeStats
from rlkit_core.envs.events import EpisodeReport
from rlkit_core.envs.faults.fault import Restarts
from rlkit_core.envs.resume.promise import not_exact_by_config
from rlkit_core.envs.resume.seeds import EpisodeSeeds
from rlkit_core.errors import ConfigError, EnvError
from rlkit_core.plugins.using import names_plugins
from rlkit_core.rl_module import MultiRLModule
from rlkit_core.rl_module.acting import ActionSampler
from rlkit_core.rl_module.agent_mapping import AgentID
from rlkit_core.rl_module.module_set import ModuleConfig, ModuleSet
from rlkit_core.rl_module.weights import Weights
from rlkit_core.seeding import SeedTree, TorchRNG

_log = logging.getLogger("rlkit_core.envs")

SAID_ONE_BY_ONE = 16
"""Envs up to which each is told of that begins anew; of more, all at once where the reason is the same."""


class RunnerSettings(ModuleConfig, Protocol):
    """Settings of the environment and of how experience is collected, as ``AlgorithmConfig`` declares them."""

    env: str | type[Any] | Callable[..., Any] | None
    env_config: dict[str, Any]
    env_runner_cls: type[Any] | None
    observation_space: gym.Space[Any] | None
    action_space: gym.Space[Any] | None
    clip_rewards: bool | float | None
    disable_env_checking: bool
    evaluation_max_steps_per_episode: int | None
    evaluation_sample_timeout_s: float | None
    executor: str
    plugin_config: dict[str, dict[str, Any]]
    exploration_noise: dict[str, Any] | None
    explore: bool
    gym_env_vectorize_mode: str
    ignore_env_runner_failures: bool
    info_metrics: list[str]
    max_num_env_runner_restarts: int
    max_num_sub_environment_restarts: int
    max_requests_in_flight_per_env_runner: int
    metrics_num_episodes_for_smoothing: int
    num_env_runners: int
    num_envs_per_env_runner: int
    replay: bool
    replay_limit: int
    restart_failed_env_runners: bool
    restart_failed_sub_environments: bool
    seed: int | None
    seed_resets: bool
    sub_environment_timeout_s: float | None
    wrappers: list[dict[str, Any]]

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int:
        """Steps that each env of a runner takes in one sample."""


class Runner(abc.ABC):
    """Steps N envs; a subclass says how, for one agent in each or for several.

    Args:
        config: the algorithm's config.
        worker_index: which of the runners this is; 0 is the one in the driver.
        seeds: node of the seed tree that this runner draws from.
        num_envs: N; the config's ``num_envs_per_env_runner`` unless given.

    Attributes:
        modules: the modules that it has.
        agents: those that are known before there is an episode.
        weights_version: version of the weights it acts with.
        stats: over the episodes that ended.
        steps: how many steps the last sample took.
        restarts: what it does about envs that fail.
    """

    modules: ActingModules
    agents: tuple[AgentID, ...] = (DEFAULT_AGENT_ID,)

    def __init__(
        self,
        config: RunnerSettings,
        *,
        worker_index: int = 0,
        seeds: SeedTree | None = None,
        num_envs: int | None = None,
    ) -> None:
        self.config = config
        self.worker_index = worker_index
        self.num_envs = num_envs or config.num_envs_per_env_runner
        self._seeds = seeds or SeedTree.from_seed(config.seed).child("env_runner", worker_index)
        self._rng = TorchRNG(self._seeds.child("torch").seed())
        self._episode_seeds = EpisodeSeeds(self._seeds.child("episode"), self.num_envs, each=config.seed_resets)
        self._to_resume: dict[str, Any] | None = None
        self._begun_anew: list[str] = []
        self._resets = 0
        self.weights_version = 0
        self.stats = EpisodeStats(self.num_envs, config.metrics_num_episodes_for_smoothing)
        self.steps = StepCounts()
        self.restarts = Restarts(config, worker_index)
        self._restarts_told = 0
        self._reports: list[EpisodeReport] = []
        self._noise_to_restore: dict[str, Any] = {}  # of modules that have not acted yet
        self._draws_to_restore: dict[str, bool] = {}  # the same

    # -- what it is made of ---------------------------------------------------------------------------------------

    @abc.abstractmethod
    def get_spaces(self) -> Spaces:
        """``{module id: (observation space, action space)}`` as modules see them; ``"__env__"``: those of every agent.

        The second is left out where agents differ.
        """

    @property
    def module(self) -> MultiRLModule:
        """The modules that it has, by id."""
        return self.modules.module

    @property
    def episodes(self) -> EpisodeReport:
        """Episodes that ended, and began, in the last sample."""
        return EpisodeReport.concat(self.worker_index, self._reports)

    def take_restarts(self) -> int:
        """How many envs were made anew since the last call."""
        new, self._restarts_told = self.restarts.count - self._restarts_told, self.restarts.count
        return new

    @abc.abstractmethod
    def set_modules(self, module_set: ModuleSet) -> None:
        """Have other modules from now on; see :meth:`ActingModules.set_modules`."""

    # -- sampling -------------------------------------------------------------------------------------------------

    @names_plugins
    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        force_reset: bool = False,
        timestep: int | None = None,
    ) -> dict[str, Rollout]:
        """Act for ``num_timesteps`` steps in all, ``ceil(num_timesteps / N)`` in each env, or for whole episodes.

        Args:
            num_timesteps: env steps; the config's rollout fragment in each env unless given.
            num_episodes: whole episodes, from fresh starts: env n plays every N-th. T is that of the env that takes
                longest; ``loss_mask`` is False for the steps of envs that had finished.
            explore: whether to explore; the config's ``explore`` unless given.
            force_reset: start with fresh episodes.
            timestep: env steps that all runners have sampled before, which exploration may depend on; this runner's
                own unless given.

        Returns:
            ``{module id: rollout}``, in this runner's own buffers: valid until the next call.

        Raises:
            ConfigError: both ``num_timesteps`` and ``num_episodes`` are given.
            EnvError: an env raised, or what it returned does not fit its spaces.
            NonFiniteError: an observation or reward is NaN or infinite.
        """
        explore = self.config.explore if explore is None else explore
        timestep = self.stats.num_env_steps_lifetime if timestep is None else timestep
        self.steps, self._reports = StepCounts(), []
        if num_episodes is not None:
            if num_timesteps is not None:
                raise ConfigError(
                    f"sample(num_timesteps={num_timesteps}, num_episodes={num_episodes}): give one of the two"
                )
            rollouts = self.collect_episodes(num_episodes, explore=explore, timestep=timestep)
            self._reports = [self.episodes.of_whole_episodes()]
            return rollouts
        if num_timesteps is None:
            num_steps = self.config.get_rollout_fragment_length(self.worker_index)
        else:
            num_steps = -(-num_timesteps // self.num_envs)
        if force_reset:
            self.reset_envs()
        if self._to_resume is not None:
            self._resume(self._to_resume)
        return self.collect_steps(num_steps, explore=explore, timestep=timestep)

    @abc.abstractmethod
    def collect_steps(self, num_steps: int, *, explore: bool, timestep: int) -> dict[str, Rollout]:
        """Act for ``num_steps`` steps in each env."""

    @abc.abstractmethod
    def collect_episodes(self, num_episodes: int, *, explore: bool, timestep: int) -> dict[str, Rollout]:
        """Act for whole episodes; the envs begin with fresh ones before and afterwards."""

    def timesteps(self, num_steps: int, timestep: int) -> range:
        """Lifetime counts of env steps before each of ``num_steps`` steps, all runners taking theirs in step."""
        stride = self.num_envs * max(1, self.config.num_env_runners)
        return range(timestep, timestep + num_steps * stride, stride)

    def run_episodes(
        self, num_episodes: int, *, explore: bool = False, seeds: SeedTree | None = None
    ) -> dict[str, Any]:
        """Play whole episodes without recording them, for evaluation; see :meth:`play_episodes`.

        Returns:
            Result keys of :class:`~rlkit_core.envs.episodes.EpisodeStats`, over those of these episodes that ended, and
            ``num_episodes_cut``: how many others were cut, as the config's evaluation settings bound them, or because
            their env failed (those are ``num_episodes_failed``).
        """
        seeds = seeds or self._seeds.child("episodes", self._resets)
        return results_of_played(self.play_episodes(range(num_episodes), explore=explore, seeds=seeds))

    @abc.abstractmethod
    @names_plugins
    def play_episodes(self, episodes: Sequence[int], *, explore: bool, seeds: SeedTree) -> EpisodeReport:
        """Play episodes of these numbers without recording them, episode k from the seed ``seeds.child(k)``.

        Returns:
            What is told of those that ended, in the order of ``episodes``, and which were cut. The envs begin with
            fresh episodes afterwards.
        """

    def get_metrics(self) -> dict[str, Any]:
        """Result keys of ``env_runners`` since the last call."""
        return {**self.stats.result(), "weights_seq_no": self.weights_version}

    @abc.abstractmethod
    def reset_envs(self) -> None:
        """Let the next :meth:`sample` begin with fresh episodes; each reset has seeds of its own."""

    def fresh_seeds(self) -> list[int]:
        """A seed for each env, others than at any reset before; episodes that are open are forgotten."""
        seeds = self._seeds.child("reset", self._resets)
        self._resets += 1
        self._to_resume = None
        self.stats.drop_open()
        return [seeds.child(n).seed() for n in range(self.num_envs)]

    # -- open episodes --------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def get_open(self) -> dict[str, Any]:
        """Where the envs are, as data that :meth:`resume_open` of another such runner understands."""

    @abc.abstractmethod
    def resume_open(self, state: dict[str, Any]) -> list[str | None]:
        """Bring the envs to where they were; for each of them why it begins with a fresh episode, None of the others.

        Raises:
            ValueError: the state is another kind of runner's, or of other modules.
        """

    def not_exact(self) -> list[str]:
        """What keeps a run that is resumed now from being equal to this one.

        That an env is not deterministic given its seed shows only when it is replayed, and is in the list from then on.
        """
        beforehand = not_exact_by_config(self.config) or self._not_exact_by_envs()
        open_now = [] if beforehand else self._open_problems(self._open_state()["envs"])
        return [*beforehand, *self._begun_anew, *open_now]

    def _not_exact_by_envs(self) -> list[str]:
        """What the envs are known for."""
        return []

    def _open_problems(self, state: dict[str, Any]) -> list[str]:
        """Why open episodes cannot be gone on with, from :meth:`get_open`."""
        return []

    def _name_of(self, n: int) -> str:
        return f"env {n} of runner {self.worker_index}"

    @property
    def replay_limit(self) -> int | None:
        """Steps of an open episode that are kept, to go on with it elsewhere; None: none."""
        return self.config.replay_limit if self.config.replay else None

    def _open_state(self) -> dict[str, Any]:
        """Open episodes; those of a checkpoint, where it was loaded and nothing was sampled since."""
        if self._to_resume is not None:
            return self._to_resume
        return {"num_envs": self.num_envs, "stats": self.stats.get_open(), "envs": self.get_open()}

    def _resume(self, state: dict[str, Any]) -> None:
        """Go on with the episodes of a checkpoint.

        It is done when they are needed: who loads a run to look at it, or to play in other envs, replays nothing.
        """
        self._to_resume = None
        try:
            problems = self.resume_open(state["envs"])
        except EnvError:  # which may be a ValueError, too
            raise
        except (ValueError, KeyError, IndexError, TypeError) as error:
            _log.warning("runner %d begins with fresh episodes: %s", self.worker_index, error)
            self.reset_envs()
            return
        self.stats.set_open(state["stats"], np.array([problem is not None for problem in problems]))
        alike = len(problems) > SAID_ONE_BY_ONE and len(set(problems)) == 1
        for n, problem in enumerate(problems[:1] if alike else problems):
            if problem is not None:
                who = f"each env of runner {self.worker_index}" if alike else self._name_of(n)
                _log.warning("%s begins with a fresh episode: %s", who, problem)
                self._begun_anew.append(f"{who} began a fresh episode when it was resumed: {problem}")

    def exploring(self) -> dict[str, ActionSampler]:
        """What explores, by module id. Part of the runner's state: noise that hangs together over time, if it has such,
        and whether it draws random numbers beforehand, which a module that has actions of its own makes it leave.
        """
        return {}

    def _exploring_state(self) -> dict[str, Any]:
        samplers = self.exploring()
        noise = {mid: one.process.get_state() for mid, one in samplers.items() if one.process is not None}
        draws = {mid: one.needs_noise for mid, one in samplers.items()}
        return {
            "exploration_noise": {**self._noise_to_restore, **noise},
            "draws_noise": {**self._draws_to_restore, **draws},
        }

    def _take_exploring(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`_exploring_state`, with modules that have not acted yet when they do."""
        self._noise_to_restore = dict(state.get("exploration_noise", {}))
        self._draws_to_restore = dict(state.get("draws_noise", {}))
        for module_id, sampler in self.exploring().items():
            self._restore_exploring(module_id, sampler)

    def _keep_exploring(self) -> None:
        """Note where what explores is, as it is about to be made anew."""
        state = self._exploring_state()
        self._noise_to_restore, self._draws_to_restore = state["exploration_noise"], state["draws_noise"]

    def _restore_exploring(self, module_id: str, sampler: ActionSampler) -> None:
        noise, draws = self._noise_to_restore.pop(module_id, None), self._draws_to_restore.pop(module_id, True)
        if noise is not None and sampler.process is not None:
            sampler.process.set_state(noise)
        sampler.needs_noise = sampler.needs_noise and draws

    # -- weights, state, end --------------------------------------------------------------------------------------

    def set_weights(self, weights: Weights) -> None:
        """Act with ``weights`` from now on; older ones than it has are ignored."""
        if weights.version < self.weights_version:
            return
        self.modules.set_weights(weights.state)
        self.weights_version = weights.version

    def accept_any_version(self) -> None:
        """Take the next weights whatever their version (they come from a restored checkpoint)."""
        self.weights_version = 0

    def get_state(self) -> dict[str, Any]:
        """What a continued run needs besides weights: random state, statistics, counters, open episodes."""
        return {
            "seed": self._seeds.root,
            "seed_path": list(self._seeds.path),
            "rng": self._rng.get_state(),
            "resets": self._resets,
            "episode_seeds": self._episode_seeds.get_state(),
            "open_episodes": self._open_state(),
            "stats": self.stats.get_state(),
            "weights_version": self.weights_version,
            **self._exploring_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`get_state`; open episodes are gone on with in the next :meth:`sample`."""
        self._seeds = SeedTree(int(state["seed"]), tuple(state["seed_path"]))
        self._rng.set_state(state["rng"])
        self._resets = int(state["resets"])
        self.stats.set_state(state["stats"])
        self.weights_version = int(state["weights_version"])
        self._take_exploring(state)
        self._episode_seeds.set_state(self._seeds.child("episode"), state.get("episode_seeds", []))
        open_ = state.get("open_episodes")
        if open_ is not None and int(open_["num_envs"]) == self.num_envs:
            self._to_resume = dict(open_)
            return
        if open_ is not None:
            _log.warning(
                "runner %d has %d envs and had %d: it begins with fresh episodes",
                self.worker_index,
                self.num_envs,
                int(open_["num_envs"]),
            )
        self.reset_envs()

    @abc.abstractmethod
    def stop(self) -> None:
        """Close the envs."""


def results_of_played(report: EpisodeReport) -> dict[str, Any]:
    """Result keys of episodes that were played without being recorded; a standard error where two or more ended."""
    stats = EpisodeStats(1, max(1, len(report.returns)))
    stats.take(report, StepCounts(env=sum(report.lengths) + report.cut_steps))
    result = {**stats.result(), "num_episodes_cut": len(report.cut), "num_episodes_failed": report.failed}
    if len(report.returns) > 1:
        result["episode_return_stderr"] = statistics.stdev(report.returns) / math.sqrt(len(report.returns))
    return result


def clipped(rewards: Tensor, clip: bool | float | None) -> Tensor:
    """Rewards as they are learned from: their signs (True), within ``[-clip, clip]``, or as they are."""
    if clip is None or clip is False:
        return rewards
    return rewards.sign() if clip is True else rewards.clamp(-float(clip), float(clip))
