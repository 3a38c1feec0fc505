"""Runners as actors of an executor: what is sent to them, what comes back, and what happens when one dies."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Concatenate, cast

import gymnasium as gym
import torch
from attrs import evolve, frozen

from rlkit_core.data.rollout import Rollout
from rlkit_core.envs.acting_modules import Spaces
from rlkit_core.envs.agent_stats import StepCounts
from rlkit_core.envs.env_registry import register_envs, registered_envs
from rlkit_core.envs.events import EnvCreated, EpisodeReport
from rlkit_core.envs.foreign.runner import ForeignRunner
from rlkit_core.envs.gym_vectors.make import OWN_MODES, WHOLE_MODES
from rlkit_core.envs.make import make_env
from rlkit_core.envs.multi_agent.make import is_multi_agent, make_agent_env
from rlkit_core.envs.multi_agent.runner import MultiAgentEnvRunner
from rlkit_core.envs.naming.calling import EnvIndex
from rlkit_core.envs.naming.kinds import kind_of
from rlkit_core.envs.resume.promise import GLOBALLY_DRAWN
from rlkit_core.envs.runner import EnvRunner
from rlkit_core.envs.runner_base import Runner, RunnerSettings
from rlkit_core.envs.wrapping.entries import counts_below
from rlkit_core.errors import ActorError, ConfigError
from rlkit_core.execution import ActorHandle, Executor, Published
from rlkit_core.execution.actor_group import ActorGroup, RestartCap, RestartRefusedError
from rlkit_core.execution.protocol import P, ResultT
from rlkit_core.plugins.used.lock import Lock
from rlkit_core.plugins.used.pinned import Pinned, by_module, for_modules
from rlkit_core.rl_module.agent_mapping import AgentID
from rlkit_core.rl_module.module_set import ModuleSet
from rlkit_core.rl_module.weights import Weights
from rlkit_core.seeding import GlobalGenerators, SeedTree

_log = logging.getLogger("rlkit_core.envs")

FUTILE = 3
"""A runner that dies so often in a row, without having answered once in between, is not started again."""


@frozen(eq=False)
class Sample:
    """What a runner's ``sample`` gives.

    Attributes:
        rollouts: ``{module id: rollout}``.
        episodes: those that ended in it, and began.
        steps: how many it took.
    """

    rollouts: dict[str, Rollout]
    episodes: EpisodeReport
    steps: StepCounts


class RunnerActor:
    """A runner with what it needs away from the driver.

    Args:
        config, worker_index, seeds, num_envs: see :class:`Runner`.
        place: where weights are published; None where they are handed over directly.
        envs: what :func:`registered_envs` gave.
        modules: the modules that it has, where they are no longer those of its first config.
        env_created: is told of each env that is made.
        chosen: choices of components that were made for its modules, by id.
        alone: it has a process of its own, so global random numbers there are for its envs.
    """

    def __init__(
        self,
        config: RunnerSettings,
        *,
        worker_index: int,
        seeds: SeedTree,
        num_envs: int | None,
        place: Published[Weights] | None = None,
        envs: dict[str, bytes] | None = None,
        modules: ModuleSet | None = None,
        env_created: EnvCreated | None = None,
        chosen: Mapping[str, Pinned] | None = None,
        alone: bool = False,
    ) -> None:
        register_envs(envs or {})
        self._generators: GlobalGenerators | None = None
        if alone:
            self._generators = GlobalGenerators(seeds.child("global").seed())
            self._generators.keep()
        with for_modules(chosen or {}):
            self.runner: Runner = make_runner(
                config, worker_index=worker_index, seeds=seeds, num_envs=num_envs, env_created=env_created
            )
        if modules is not None:
            self.runner.set_modules(modules)
        self._place, self._alone = place, alone
        self._known: int | None = None

    def _take_weights(self) -> None:
        found = None if self._place is None else self._place.read(self._known)
        if found is not None:
            self._known, weights = found
            self.set_weights(weights)

    def set_weights(self, weights: Weights) -> None:
        """Act with ``weights``, whatever their version: they may come from a restored checkpoint."""
        self.runner.accept_any_version()
        self.runner.set_weights(weights)

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        force_reset: bool = False,
        timestep: int | None = None,
        clone: bool = False,
    ) -> Sample:
        """:meth:`Runner.sample` with the latest weights; with ``clone`` what comes is the caller's own."""
        self._take_weights()
        rollouts = self.runner.sample(
            num_timesteps=num_timesteps,
            num_episodes=num_episodes,
            explore=explore,
            force_reset=force_reset,
            timestep=timestep,
        )
        if self._alone:  # what is on a device does not go to other processes
            rollouts = {module_id: rollout.to(torch.device("cpu")) for module_id, rollout in rollouts.items()}
        if clone:
            rollouts = {module_id: rollout.clone() for module_id, rollout in rollouts.items()}
        return Sample(rollouts, self._told(self.runner.episodes), self.runner.steps)

    def play(self, episodes: Sequence[int], *, explore: bool, seeds: SeedTree) -> EpisodeReport:
        """:meth:`Runner.play_episodes` with the latest weights."""
        self._take_weights()
        return self._told(self.runner.play_episodes(episodes, explore=explore, seeds=seeds))

    def _told(self, report: EpisodeReport) -> EpisodeReport:
        """With what happened to envs, which the driver adds up."""
        return evolve(report, env_restarts=self.runner.take_restarts())

    def play_steps(
        self, num_timesteps: int, *, chunk: int, until: Published[None] | None, explore: bool, force_reset: bool
    ) -> tuple[EpisodeReport, StepCounts]:
        """Act for ``num_timesteps`` steps, ``chunk`` at a time, and further until something is published in ``until``.

        Returns:
            What is told of episodes, and how many steps that were.
        """
        self._take_weights()
        reports: list[EpisodeReport] = []
        steps = StepCounts()
        while steps.env < num_timesteps or (until is not None and until.version is None):
            self.runner.sample(num_timesteps=chunk, explore=explore, force_reset=force_reset)
            force_reset = False
            reports.append(self.runner.episodes)
            steps.join(self.runner.steps)
        return self._told(EpisodeReport.concat(self.runner.worker_index, reports)), steps

    def apply(self, func: Callable[[Runner], Any]) -> Any:
        """``func(runner)``, with the latest weights."""
        self._take_weights()
        return func(self.runner)

    def what_acts(self) -> tuple[Spaces, tuple[AgentID, ...]]:
        """Spaces by module, and the agents that are known beforehand."""
        return self.runner.get_spaces(), self.runner.agents

    def not_exact(self, *, open_episodes: bool = True) -> list[str]:
        """:meth:`Runner.not_exact`, and whether something drew from this process's global random numbers.

        Args:
            open_episodes: whether those that are open matter; otherwise it begins with fresh ones each time.
        """
        reasons = self.runner.not_exact() if open_episodes else []
        if self._generators is not None:
            self._generators.look()
            if self._generators.drawn:
                reasons.append(GLOBALLY_DRAWN)
        return reasons

    def on_runner(self, method: str, /, *args: object, **kwargs: object) -> Any:
        """A method of the runner."""
        return getattr(self.runner, method)(*args, **kwargs)

    def stop(self) -> None:
        """Close the envs."""
        self.runner.stop()


def make_runner(
    config: RunnerSettings,
    *,
    worker_index: int,
    seeds: SeedTree | None = None,
    num_envs: int | None = None,
    env_created: EnvCreated | None = None,
) -> Runner:
    """The runner of the config's ``env_runner_cls``, or for its env: one is made, to see how many agents it has.

    Args:
        config, worker_index, seeds, num_envs: see :class:`Runner`.
        env_created: is told of each env that is made.

    Raises:
        EnvError, ConfigError, ...: see :class:`EnvRunner` and :class:`MultiAgentEnvRunner`.
    """
    settings: dict[str, Any] = {"worker_index": worker_index, "seeds": seeds, "num_envs": num_envs}
    if config.env_runner_cls is not None:
        return ForeignRunner(config, **settings)
    env, env_config, mode = config.env, config.env_config, config.gym_env_vectorize_mode
    if isinstance(env, str) and mode in WHOLE_MODES:  # which may be all that the id has
        return EnvRunner(config, env_created=env_created, **settings)

    def told_of(made: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
        if env_created is not None:
            env_created(made, env_config, worker_index)
        return made

    def make(n: int = 0) -> gym.Env[Any, Any]:
        checker: dict[str, Any] = {"disable_env_checker": config.disable_env_checking} if isinstance(env, str) else {}
        index = EnvIndex(worker_index, n, num_envs or config.num_envs_per_env_runner)
        return make_env(env, env_config, config.wrappers, index=index, **checker)  # type: ignore[arg-type]

    first = [make()]
    if is_multi_agent(first[0]):
        if counts_below(config.wrappers):
            raise ConfigError(
                "environment(wrappers=...): wrappers that are for training only are for envs of one agent; leave out "
                "training_only and in_training, or use what the env itself has"
            )
        if mode in OWN_MODES:  # otherwise it is refused
            told_of(first[0])
        return MultiAgentEnvRunner(
            config, lambda n: make_agent_env(first.pop() if first else told_of(make(n))), **settings
        )
    if kind_of(first[0]) == "vector" and num_envs is not None:
        settings["num_envs"] = first[0].num_envs  # type: ignore[attr-defined]  # for evaluation, where any number is right
    return EnvRunner(config, env_created=env_created, first_env=first[0], **settings)


Ask = Callable[[ActorHandle[RunnerActor]], "Future[ResultT]"]
"""Makes a call of a runner."""


class RunnerFleet(ActorGroup[RunnerActor]):
    """The runners behind an executor: calls that survive a runner's death, requests under way, weights.

    Args:
        config: the runners' config.
        executor: where they run.
        indices: their worker indices.
        seeds: node of the seed tree.
        num_envs: envs of each; the config's unless given.
        owns_executor: whether stopping the fleet stops the executor.
        env_created: is told of each env that is made.
        used: what runners use of what is installed; see :class:`ActorGroup`.

    Attributes:
        chosen: choices of components for their modules, by id, which runners that are started from now on get.
        in_process, concurrent: what the executor says of itself.
        num_lost: runners that were given up.
        started_again: indices of runners that died and were started again; whoever reads them empties the list.

    Raises:
        EnvError, ActorError, ...: a runner cannot be made.
        ConfigError: a callback that is told of envs cannot be sent to where they are made.
    """

    def __init__(
        self,
        config: RunnerSettings,
        executor: Executor,
        indices: Sequence[int],
        seeds: SeedTree,
        num_envs: int | None,
        *,
        owns_executor: bool,
        env_created: EnvCreated | None = None,
        used: Callable[[], Lock] | None = None,
    ) -> None:
        self.in_process, self.concurrent = executor.in_process, executor.concurrent
        self._seeds, self._num_envs = seeds, num_envs
        self._env_created = env_created
        if env_created is not None and not self.in_process:
            env_created.check_travels()
        here = list(indices) == [0]  # one runner in this process: weights need no copy
        self._place: Published[Weights] | None = None if here else executor.published()
        self._publications = 0
        self._config = config if self.in_process else config.without_callbacks()
        self._envs = {} if self.in_process else registered_envs(config.env)
        self._modules: ModuleSet | None = None
        self.chosen: Mapping[str, Pinned] = by_module()
        self._answers: queue.SimpleQueue[tuple[int, ActorHandle[RunnerActor], Future[Any]]] = queue.SimpleQueue()
        self._requests: dict[int, int] = {}  # under way, by runner
        self.num_lost = 0
        self.started_again: list[int] = []
        cap = RestartCap(
            config.max_num_env_runner_restarts,
            f"runners were restarted max_num_env_runner_restarts={config.max_num_env_runner_restarts} times",
            futile=FUTILE,
        )
        if not config.restart_failed_env_runners:
            cap = RestartCap(0, "fault_tolerance(restart_failed_env_runners=False)")
        super().__init__(executor, indices, cap=cap, owns_executor=owns_executor, used=used)

    def spawn(self, number: int, start: int) -> ActorHandle[RunnerActor]:
        """Begin to make a runner, which has no requests under way."""
        seeds = self._seeds.child("env_runner", number)
        if start:  # other numbers than those that the one before has drawn
            seeds = seeds.child("start", start)
        self._requests[number] = 0
        return self.executor.spawn(
            RunnerActor,
            self._config,
            worker_index=number,
            seeds=seeds,
            num_envs=self._num_envs,
            place=self._place,
            envs=self._envs,
            modules=self._modules,
            env_created=self._env_created,
            chosen=self.chosen,
            alone=not self.in_process,
        )

    # -- calls ----------------------------------------------------------------------------------------------------

    def ask_all(
        self, func: Callable[Concatenate[RunnerActor, P], ResultT], /, *args: P.args, **kwargs: P.kwargs
    ) -> dict[int, ResultT]:
        """Call a function with every runner and wait: results by worker index, in order."""
        return self.begin(dict.fromkeys(self.members, lambda actor: actor.call(func, *args, **kwargs)))()

    def ask_first(
        self, func: Callable[Concatenate[RunnerActor, P], ResultT], /, *args: P.args, **kwargs: P.kwargs
    ) -> ResultT:
        """Call a function with one of the runners, and wait."""
        first = next(iter(self.members))
        ask: Ask[ResultT] = lambda actor: actor.call(func, *args, **kwargs)  # noqa: E731
        return next(iter(self.begin({first: ask})().values()))

    def begin(self, asks: Mapping[int, Ask[ResultT]]) -> Callable[[], dict[int, ResultT]]:
        """Ask some runners, each in its own way; call what is returned to wait for the results, in that order.

        A runner that died is started again and asked again; one that is given up has no result.
        """
        asked = {k: self.members[k] for k in asks}
        futures = {k: ask(asked[k]) for k, ask in asks.items()}

        def results() -> dict[int, ResultT]:
            by_runner = {}
            for k, ask in asks.items():
                while k in self.members:
                    try:
                        by_runner[k] = futures[k].result()
                        self.answered(k)
                        break
                    except ActorError as error:
                        # Another call may have met the death, and replaced it, before this one.
                        if self.members[k] is asked[k] and not self._replace(k, error):
                            break
                        asked[k] = self.members[k]
                        futures[k] = ask(asked[k])
            return by_runner

        return results

    def request(self, k: int, ask: Ask[Any]) -> None:
        """Ask a runner; :meth:`answers` gives the result."""
        actor = self.members[k]
        self._requests[k] += 1
        ask(actor).add_done_callback(lambda future: self._answers.put((k, actor, future)))

    def requests_of(self, k: int) -> int:
        """How many requests of a runner are under way."""
        return self._requests[k]

    def answers(self, timeout: float | None) -> list[Any]:
        """Results of requests that have come, in that order; waits up to ``timeout`` seconds for the first."""
        results: list[Any] = []
        try:
            entry = self._answers.get(timeout=timeout)
            while True:
                k, actor, future = entry
                if self.members.get(k) is actor:
                    self._requests[k] -= 1
                    try:
                        results.append(future.result())
                        self.answered(k)
                    except ActorError as error:
                        self._replace(k, error)
                entry = self._answers.get_nowait()
        except queue.Empty:
            return results

    def _replace(self, k: int, error: ActorError) -> bool:
        """Start a runner again that has died; False if it is given up instead.

        Raises:
            ActorError: it did not die, or may be neither started again nor given up.
        """
        if self.members[k].alive:
            raise error
        try:
            self.restart([k])
        except RestartRefusedError as refused:
            if not self._config.ignore_env_runner_failures or len(self.members) == 1:
                raise ActorError(f"env runner {k} is not started again, since {refused}: {error}") from error
            _log.warning("runner %d is given up (%s): %s", k, refused, error)
            self.give_up(k)
            self.num_lost += 1
            return False
        _log.warning("runner %d was started again: %s", k, error)
        self.started_again.append(k)
        return True

    # -- weights and modules --------------------------------------------------------------------------------------

    def publish(self, weights: Weights) -> None:
        """Let every runner act with ``weights`` from its next call on."""
        if self._place is None:
            self.ask_all(RunnerActor.set_weights, weights)
            return
        self._publications += 1
        self._place.publish(self._publications, weights)

    def latest_weights(self, known: int | None) -> tuple[int, Weights] | None:
        """The number of the last publication, and its weights; None if ``known`` is the last."""
        return None if self._place is None else self._place.read(known)

    def flag(self) -> Published[None]:
        """A new place that runners can watch."""
        return self.executor.published()

    def set_modules(self, module_set: ModuleSet) -> None:
        """Let every runner, and those started later, have other modules."""
        config = cast("RunnerSettings", module_set.config)
        self._config = config if self.in_process else config.without_callbacks()
        self._modules = evolve(module_set, config=self._config)
        self.ask_all(RunnerActor.on_runner, "set_modules", self._modules)
