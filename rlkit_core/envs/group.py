"""The EnvRunnerGroup: one runner here, or several behind an executor; callers do not see which."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, cast

from attrs import evolve

from rlkit_core.data.rollout import Rollout
from rlkit_core.envs.acting_modules import ActingModules, Spaces
from rlkit_core.envs.agent_stats import StepCounts
from rlkit_core.envs.episodes import EpisodeStats
from rlkit_core.envs.events import EpisodeReport, RunnerEvents
from rlkit_core.envs.runner_actors import Ask, RunnerActor, RunnerFleet, Sample
from rlkit_core.envs.runner_base import Runner, RunnerSettings, results_of_played
from rlkit_core.errors import ConfigError
from rlkit_core.execution import ActorHandle, Executor, LocalExecutor, Published, make_executor
from rlkit_core.from_rllib import SaysInstead
from rlkit_core.plugins.used.lock import Lock
from rlkit_core.plugins.used.pinned import Pinned
from rlkit_core.rl_module import MultiRLModule
from rlkit_core.rl_module.module_set import ModuleSet
from rlkit_core.rl_module.weights import WeightLink, Weights
from rlkit_core.seeding import SeedTree, TorchRNG

_log = logging.getLogger("rlkit_core.envs")

STEPS_AT_ONCE = 100
"""Env steps after which a runner that evaluates by steps looks whether it may end."""


class EnvRunnerGroup(SaysInstead):
    """Runners that sample with the same weights.

    With ``num_env_runners=0`` there is one runner in this process, otherwise so many actors of an executor. Statistics
    and counts are kept here, so that they survive a runner's death: means are over the episodes of all runners.

    Args:
        config: the algorithm's config.
        executor: where runners run; what the config says unless given.
        seeds: node of the seed tree; runner k draws from its child ``("env_runner", k)``.
        num_envs: envs per runner; the config's unless given.
        num_env_runners: how many runners; the config's unless given.
        events: who is told of samples and envs.
        used: what runners use of what is installed, asked when one is started; only that has to be the same there.
        role: what they are to an executor that asks: ``"runner"`` or ``"evaluation"``.

    Raises:
        PluginNotFoundError: there is no such executor.
        EnvError, ConfigError, NoComponentError, ...: a runner cannot be made.
    """

    def __init__(
        self,
        config: RunnerSettings,
        *,
        executor: Executor | None = None,
        seeds: SeedTree | None = None,
        num_envs: int | None = None,
        num_env_runners: int | None = None,
        events: RunnerEvents | None = None,
        used: Callable[[], Lock] | None = None,
        role: str = "runner",
    ) -> None:
        self.config = config
        count = config.num_env_runners if num_env_runners is None else num_env_runners
        self.num_envs = num_envs or config.num_envs_per_env_runner
        self._seeds = seeds = seeds or SeedTree.from_seed(config.seed)
        self._rounds = 0  # of episodes for evaluation
        self._env_restarts = 0
        if executor is not None:
            chosen = executor
        elif count:
            chosen = make_executor(config.executor, role=role, plugin_config=config.plugin_config)
        else:
            chosen = LocalExecutor()
        indices = range(1, count + 1) if count else (0,)
        self._events = events or RunnerEvents()
        self._fleet = RunnerFleet(
            config,
            chosen,
            indices,
            seeds,
            num_envs,
            owns_executor=executor is None,
            env_created=self._events.env_created,
            used=used,
        )
        self.stats = EpisodeStats(1, config.metrics_num_episodes_for_smoothing)
        self._weights_version = 0
        self._link: WeightLink | None = None
        try:
            self._spaces, agents = self._fleet.ask_first(RunnerActor.what_acts)
            self._local: Runner | None = None
            if not count:
                self._local = self._fleet.members[0].instance.runner  # type: ignore[attr-defined]
            if self._local is not None:
                self._modules = self._local.modules
            else:
                rng = TorchRNG(seeds.child("modules").seed())
                self._modules = ActingModules(config, self._spaces, rng, agents=agents)
        except BaseException:
            self.stop()
            raise
        self._fleet.chosen = self.choices()
        self._known_here: int | None = None

    def __len__(self) -> int:
        return len(self._fleet.members)

    def __bool__(self) -> bool:
        return True

    # -- what it is made of ---------------------------------------------------------------------------------------

    @property
    def local_env_runner(self) -> Runner | None:
        """The runner in this process, or None where runners are actors."""
        return self._local

    @property
    def modules(self) -> ActingModules:
        """The modules in this process: those of the runner here, or a copy of what runners elsewhere have."""
        if self._local is None:
            found = self._fleet.latest_weights(self._known_here)
            if found is not None:
                self._known_here, weights = found
                self._modules.set_weights(weights.state)
        return self._modules

    @property
    def module(self) -> MultiRLModule:
        """The modules that act, inference-only, with the weights that were synced last."""
        return self.modules.module

    @property
    def module_as_it_was(self) -> MultiRLModule:
        """:attr:`module` without fetching the weights that were synced last: enough to look at what it is made of."""
        return self._modules.module

    def choices(self) -> dict[str, Pinned]:
        """The choices of components for the modules here, by id: what others like them are built of."""
        return {mid: module.unwrapped().pinned_choices for mid, module in self._modules.module.items()}

    @property
    def acting_id(self) -> str:
        """Id of the module that acts; of several agents, that of the first one."""
        return self._modules.acting_id

    def get_spaces(self) -> Spaces:
        """``{module id: (observation space, action space)}``; see :meth:`Runner.get_spaces`."""
        return dict(self._spaces)

    @property
    def module_set(self) -> ModuleSet:
        """Which modules the runners have."""
        return self._modules.module_set

    def set_modules(self, module_set: ModuleSet) -> None:
        """Let all runners have other modules from now on; see :meth:`Runner.set_modules`.

        Weights of modules that no learner has are the same on all runners.
        """
        if self._local is None:
            self.modules.set_modules(module_set)
            module_set = module_set.pinned_by(dict(self._modules.module.items()))
        self._fleet.set_modules(module_set)
        self._fleet.chosen = self.choices()
        self.config = cast(RunnerSettings, module_set.config)
        self._spaces, _ = self._fleet.ask_first(RunnerActor.what_acts)

    # -- sampling -------------------------------------------------------------------------------------------------

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        force_reset: bool = False,
    ) -> dict[str, Rollout]:
        """Let every runner act, wait for all, and join their rollouts along N in the order of the runners.

        Args:
            num_timesteps: env steps in all, rounded up so that every env takes the same number. The config's rollout
                fragment in each env unless given: that of the first runner, where "auto" does not divide evenly.
            num_episodes: whole episodes instead, from fresh starts: shared out over runners and their envs. T is that
                of the env that takes longest; ``loss_mask`` is False where an env has finished.
            explore: whether to explore; the config's ``explore`` unless given.
            force_reset: start with fresh episodes.

        Returns:
            ``{module id: rollout [T, N, ...]}``. With a single runner in this process it lies in that runner's
            buffers, valid until it samples again; otherwise it is the caller's own.

        Raises:
            ConfigError: both ``num_timesteps`` and ``num_episodes`` are given.
            ActorError: a runner died, and may not be started again.
            EnvError, NonFiniteError: see :meth:`Runner.sample`.
        """
        if num_episodes is not None and num_timesteps is not None:
            raise ConfigError(
                f"sample(num_timesteps={num_timesteps}, num_episodes={num_episodes}): give one of the two"
            )
        if self._local is not None and num_episodes is None:
            return self._sample_here(self._local, num_timesteps, explore, force_reset)
        members = list(self._fleet.members)
        # Several are copied when they are joined.
        clone = self._local is None and self._fleet.in_process and len(members) == 1
        common = {"explore": explore, "timestep": self.num_env_steps_sampled_lifetime, "clone": clone}
        if num_episodes is not None:
            shares = self._shared_out(num_episodes)
            asks = {k: _sampling(**common, num_episodes=len(share)) for k, share in shares.items()}
        else:
            steps = self._steps_of_each_env(num_timesteps, len(members)) * self.num_envs
            asks = dict.fromkeys(members, _sampling(**common, num_timesteps=steps, force_reset=force_reset))
        samples = list(self._fleet.begin(asks)().values())
        for sample in samples:
            self._count(sample)
        if len(samples) == 1:
            return samples[0].rollouts
        by_module: dict[str, list[Rollout]] = {}
        for sample in samples:
            for module_id, rollout in sample.rollouts.items():
                by_module.setdefault(module_id, []).append(rollout)
        return {module_id: Rollout.concat(rollouts, extend=True) for module_id, rollouts in by_module.items()}

    def _sample_here(
        self, runner: Runner, num_timesteps: int | None, explore: bool | None, force_reset: bool
    ) -> dict[str, Rollout]:
        """:meth:`sample` with the one runner in this process, without the way through futures."""
        rollouts = runner.sample(
            num_timesteps=self._steps_of_each_env(num_timesteps, 1) * self.num_envs,
            explore=explore,
            force_reset=force_reset,
            timestep=self.num_env_steps_sampled_lifetime,
        )
        self._count(Sample(rollouts, runner.episodes, runner.steps))
        return rollouts

    def sample_async(self, *, timeout: float | None = None) -> list[dict[str, Rollout]]:
        """Rollouts that are complete; every runner has up to ``max_requests_in_flight_per_env_runner`` under way.

        A slow runner never delays the others. Runners take the latest weights before each rollout. Where the executor
        runs one after the other, they act in turn instead, one rollout each, so results are the same every time.

        Args:
            timeout: seconds to wait for the first; None waits until there is one.

        Returns:
            ``{module id: rollout}`` for each, the caller's own, in order of completion; perhaps none.

        Raises:
            ActorError: a runner died, and may not be started again.
            EnvError, NonFiniteError: see :meth:`Runner.sample`.
        """
        fleet = self._fleet
        if not fleet.concurrent:
            samples = list(fleet.ask_all(RunnerActor.sample, clone=True, **self._request()).values())
        else:
            self._top_up()
            samples = fleet.answers(timeout)
            while not samples and timeout is None:  # what came was a death
                self._top_up()
                samples = fleet.answers(None)
        for sample in samples:
            self._count(sample)
        if fleet.concurrent:
            self._top_up()
        return [sample.rollouts for sample in samples]

    def _top_up(self) -> None:
        for k in self._fleet.members:
            while self._fleet.requests_of(k) < self.config.max_requests_in_flight_per_env_runner:
                self._fleet.request(k, _sampling(clone=self._fleet.in_process, **self._request()))

    def _request(self) -> dict[str, Any]:
        steps = self._steps_of_each_env(None, 1)
        return {"num_timesteps": steps * self.num_envs, "timestep": self.num_env_steps_sampled_lifetime}

    def _steps_of_each_env(self, num_timesteps: int | None, runners: int) -> int:
        if num_timesteps is not None:
            return -(-num_timesteps // (self.num_envs * runners))
        return int(self.config.get_rollout_fragment_length(0 if self._local is not None else 1))

    def _shared_out(self, num_episodes: int) -> dict[int, range]:
        """Which episodes each runner plays; those that play none are left out."""
        members = list(self._fleet.members)
        shares = {k: range(first, num_episodes, len(members)) for first, k in enumerate(members)}
        return {k: share for k, share in shares.items() if share}

    def _count(self, sample: Sample) -> None:
        self.stats.take(sample.episodes, sample.steps)
        self._tell(sample.episodes, sample.steps.env, sample.rollouts)

    def _tell(self, report: EpisodeReport, steps: int, rollouts: Mapping[str, Rollout] | None = None) -> None:
        self._env_restarts += report.env_restarts
        if self._events.sampled is not None:
            self._events.sampled(report, steps, rollouts or {})

    # -- episodes for evaluation ----------------------------------------------------------------------------------

    def run_episodes(
        self, num_episodes: int, *, explore: bool = False, seeds: SeedTree | None = None
    ) -> dict[str, Any]:
        """Play whole episodes without keeping them, shared out over the runners.

        Episode k starts from a seed of its own, so the result does not depend on the number of runners or envs (where
        the env takes one seed per episode, and nothing explores).

        Returns:
            Result keys of :class:`~rlkit_core.envs.episodes.EpisodeStats`, over those of these episodes that ended, and
            ``num_episodes_cut``: how many others were cut, as the config's evaluation settings bound them, or because
            their env failed (those are ``num_episodes_failed``).
        """
        return self.begin_episodes(num_episodes, explore=explore, seeds=seeds)()

    def begin_episodes(
        self, num_episodes: int, *, explore: bool = False, seeds: SeedTree | None = None
    ) -> Callable[[], dict[str, Any]]:
        """Start :meth:`run_episodes`; call what is returned to wait for the result."""
        seeds = seeds or self._seeds.child("episodes", self._rounds)
        self._rounds += 1
        shares = self._shared_out(num_episodes)

        def play(share: range) -> Ask[EpisodeReport]:
            return lambda actor: actor.call(RunnerActor.play, share, explore=explore, seeds=seeds)

        collect = self._fleet.begin({k: play(share) for k, share in shares.items()})

        def result() -> dict[str, Any]:
            played: dict[int, tuple[float, int]] = {}
            reports = collect()
            for k, report in reports.items():
                ended = [number for number in shares[k] if number not in set(report.cut)]
                played.update(zip(ended, zip(report.returns, report.lengths, strict=True), strict=True))
                self._tell(report, sum(report.lengths) + report.cut_steps)
            whole = EpisodeReport.concat(0, list(reports.values()))
            returns, lengths = [played[k][0] for k in sorted(played)], [played[k][1] for k in sorted(played)]
            return results_of_played(evolve(whole, returns=returns, lengths=lengths))

        return result

    def begin_timesteps(
        self,
        num_timesteps: int,
        *,
        explore: bool = False,
        force_reset: bool = True,
        until: Published[None] | None = None,
    ) -> Callable[[], dict[str, Any]]:
        """Start to act for at least ``num_timesteps`` env steps in all; call what is returned to wait for the result.

        Args:
            num_timesteps: env steps, shared out over the runners.
            explore: explore, or act deterministically.
            force_reset: start with fresh episodes; otherwise go on with those that are open.
            until: go on until something is published there.

        Returns:
            A function that returns result keys over the episodes that ended; NaN where none did.
        """
        members = list(self._fleet.members)
        share = -(-num_timesteps // len(members))

        def play(actor: ActorHandle[RunnerActor]) -> Future[tuple[EpisodeReport, StepCounts]]:
            return actor.call(
                RunnerActor.play_steps,
                share,
                chunk=STEPS_AT_ONCE,
                explore=explore,
                force_reset=force_reset,
                until=until,
            )

        collect = self._fleet.begin(dict.fromkeys(members, play))

        def result() -> dict[str, Any]:
            played = list(collect().values())
            stats = EpisodeStats(1, max(1, sum(len(report.returns) for report, _ in played)))
            for report, steps in played:
                stats.take(report, steps)
                self._tell(report, steps.env)
            return stats.result()

        return result

    def flag(self) -> Published[None] | None:
        """A place that tells runners beside this thread to end; None for those that run in it, which never wait."""
        return self._fleet.flag() if self._fleet.concurrent else None

    # -- weights, metrics, state ----------------------------------------------------------------------------------

    def sync_weights(self, weights: Weights) -> None:
        """Let every runner act with ``weights`` from its next rollout on; they are copied once for all runners."""
        self._weights_version = weights.version
        if self._local is None:
            state = self._modules.state_for_here(weights.state)
            weights = Weights(weights.version, dict(state))
        self._fleet.publish(weights)

    def copy_weights(self, learner: Any) -> bool:
        """Let the runner here act with the weights of a learner here, without a copy on the way.

        Returns:
            Whether that was done; False where runners are elsewhere, or modules have states of their own making.
        """
        if self._local is None:
            return False
        link = self._link
        if link is None or not link.joins(learner.module, self._local.module):
            link = self._link = WeightLink(learner.module, self._local.module)
        if not link.copy():
            return False
        self._weights_version = self._local.weights_version = learner.weights_seq_no
        return True

    def not_exact(self, *, open_episodes: bool = True) -> list[str]:
        """What keeps a run that is resumed now from being equal to this one; see :meth:`RunnerActor.not_exact`."""
        said = self._fleet.ask_all(RunnerActor.not_exact, open_episodes=open_episodes).values()
        return list(dict.fromkeys(reason for reasons in said for reason in reasons))

    def reset_envs(self) -> None:
        """Let every runner begin with fresh episodes."""
        self._fleet.ask_all(RunnerActor.on_runner, "reset_envs")

    @property
    def num_env_steps_sampled_lifetime(self) -> int:
        """Env steps of all rollouts that were handed out, over all runners."""
        return self.stats.num_env_steps_lifetime

    def get_metrics(self) -> dict[str, Any]:
        """Result keys of ``env_runners`` since the last call, over the episodes of all runners."""
        return {**self.stats.result(), "weights_seq_no": self._weights_version}

    def take_started_again(self) -> list[int]:
        """Indices of the runners that died and were started again since the last call."""
        indices = list(self._fleet.started_again)
        self._fleet.started_again.clear()
        return indices

    def get_fault_metrics(self) -> dict[str, int]:
        """Result keys of ``fault_tolerance``: runners that are there, that were restarted, that were given up, and how
        many single envs were made anew.
        """
        return {
            "num_healthy_env_runners": len(self),
            "num_env_runner_restarts": self._fleet.num_restarts,
            "num_env_runners_lost": self._fleet.num_lost,
            "num_env_restarts": self._env_restarts if self._local is None else self._local.restarts.count,
        }

    def foreach_env_runner(self, func: Callable[[Runner], Any]) -> list[Any]:
        """``func(runner)`` for each runner, in their order; results must be such as can be sent."""
        return list(self._fleet.ask_all(RunnerActor.apply, func).values())

    def get_state(self) -> dict[str, Any]:
        """Statistics, and ``{"0": state of runner 0, ...}`` under ``runners``."""
        states = self._fleet.ask_all(RunnerActor.on_runner, "get_state")
        return {
            "stats": self.stats.get_state(),
            "runners": {str(k): state for k, state in states.items()},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`get_state`; runners that it does not know begin anew."""
        self.stats.set_state(state["stats"])
        unknown = [k for k in self._fleet.members if str(k) not in state["runners"]]
        if unknown or len(state["runners"]) > len(self):
            before, now = sorted(map(int, state["runners"])), sorted(self._fleet.members)
            _log.warning("there were runners %s, and now there are %s: others begin with fresh episodes", before, now)

        def restore(runner_state: Any) -> Ask[Any]:
            return lambda actor: actor.call(RunnerActor.on_runner, "set_state", runner_state)

        states = {int(k): restore(runner_state) for k, runner_state in state["runners"].items()}
        self._fleet.begin({k: states[k] for k in self._fleet.members if k in states})()

    def stop(self) -> None:
        """Stop every runner."""
        self._fleet.stop()


def _sampling(**how: Any) -> Ask[Sample]:
    return lambda actor: actor.call(RunnerActor.sample, **how)
