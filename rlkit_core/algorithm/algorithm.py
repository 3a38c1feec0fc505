"""The Algorithm: runners, a learner group, and the loop that joins them."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

from rlkit_core.algorithm.callbacks import Callbacks
from rlkit_core.algorithm.config.converters import EnvSpec
from rlkit_core.algorithm.evaluation import Evaluation
from rlkit_core.algorithm.module_changes import Agents, RunningModules
from rlkit_core.algorithm.profile import Profile
from rlkit_core.algorithm.reporting import AlgorithmMetrics, Reporting
from rlkit_core.algorithm.results import ResultDict, Timers, assemble_result, fault_metrics
from rlkit_core.algorithm.surroundings import Surroundings
from rlkit_core.algorithm.used import used_by, with_restored_config
from rlkit_core.checkpoint import Checkpointable
from rlkit_core.checkpoint.saved_component import SavedComponent
from rlkit_core.columns import COMPONENT_LEARNER_GROUP, DEFAULT_MODULE_ID
from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.envs.runner_base import Runner
from rlkit_core.errors import ConfigError
from rlkit_core.learner import LearnerGroup
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.used.lock import Lock
from rlkit_core.plugins.using import names_plugins
from rlkit_core.rl_module import MultiRLModuleSpec, RLModule, RLModuleSpec
from rlkit_core.rl_module.module_set import ModuleSet, ToTrain, is_trained
from rlkit_core.rl_module.weights import Weights
from rlkit_core.seeding import SeedTree

AlgorithmT = TypeVar("AlgorithmT", bound="Algorithm")
ItemT = TypeVar("ItemT")


class Algorithm(Reporting, Checkpointable):
    """Trains modules in an environment.

    A subclass overrides :meth:`training_step`, built from the core's verbs: ``self.env_runner_group.sample``,
    ``self.learner_group.update`` and ``self.sync_weights``, and makes parts of its own in :meth:`setup`.

    Args:
        config: its config; a validated, frozen copy is kept.
        env: takes the place of the config's env.

    Raises:
        ConfigError: settings that contradict each other.
        EnvError: the env cannot be made.
        NoComponentError: no component serves one of its spaces.
    """

    STATE_FILE_NAME = "algorithm_state"

    def __init__(self, config: Any, env: EnvSpec = None) -> None:
        config = config.prepared(env)
        if config.env is None and config.env_runner_cls is None:
            raise ConfigError(f"{type(self).__name__} needs an env: config.environment('CartPole-v1')")
        host = default_host()
        host.load()
        self.seeds = SeedTree.from_seed(config.seed)
        if config.seed is None:  # the seed that was drawn is kept, so that a checkpoint continues with it
            config = config.copy(copy_frozen=False).debugging(seed=self.seeds.root)
            config.freeze()
        self.config, self.iteration, self.timers, self.metrics = config, 0, Timers(), AlgorithmMetrics()
        self._trainable: tuple[Any, frozenset[str]] = (None, frozenset())
        self.callbacks = Callbacks(self.config, host)
        # Groups are made with what they tell, which asks for them when there is something to tell.
        events = self.callbacks.of_runners(self, lambda: self.evaluation.runners, is_evaluation=True)
        self.evaluation = Evaluation(self.seeds, events, like=lambda: self.env_runner_group, used=self.what_is_used)
        agents = Agents(self.config)
        agents.check(self.config)
        events = self.callbacks.of_runners(self, lambda: self.env_runner_group, is_evaluation=False)
        self._surroundings = Surroundings(self.seeds)
        with self._surroundings.building():
            self.env_runner_group = EnvRunnerGroup(self.config, seeds=self.seeds, events=events, used=self.what_is_used)
        try:
            spaces, acting = self.env_runner_group.get_spaces(), self.env_runner_group.module_as_it_was
            spec = self.config.get_multi_rl_module_spec(spaces=spaces, inference_only=False).pinned_by(acting)
            given = {"spaces": spaces, "module_spec": spec, "seeds": self.seeds, "used": self.what_is_used}
            self.learner_group: LearnerGroup = self.config.make_learner_group(**given)
        except BaseException:
            self.env_runner_group.stop()
            raise
        self._modules = RunningModules(self.learner_group, self.env_runner_group, self.evaluation, agents)
        try:
            self.setup()
            self.sync_weights()
            self.callbacks.on_algorithm_init(self)
        except BaseException:
            self.stop()
            raise

    def setup(self) -> None:
        """Make what this kind of algorithm has beside the core's parts (buffers, queues, counters); none by default.

        Runners, learners, ``config`` and ``seeds`` are there; weights are not published yet, and no callback and no
        observer has seen the algorithm. What it raises ends the construction, with all parts stopped.
        """

    # -- training -----------------------------------------------------------------------------------------------------

    @names_plugins
    def train(self) -> ResultDict:
        """One iteration: training steps until the ``min_*_per_iteration`` settings are met, then evaluation if due.

        Returns:
            The result: ``env_runners``, ``learners``, ``timers``, ``evaluation`` when there was one,
            ``training_iteration``, ``num_env_steps_sampled_lifetime``, and the config. ``stopped_by`` names
            the callback that returned False to end training.
        """
        started, start_steps = time.perf_counter(), self.num_env_steps_sampled_lifetime
        interval, parallel = self.config.evaluation_interval, self.config.evaluation_parallel_to_training
        due = bool(interval) and (self.iteration + 1) % interval == 0
        evaluation = self.begin_evaluation(iteration=self.iteration + 1) if due and parallel else None
        calls, step = 0, cast(Callable[[], Any], self.training_step)
        with self._surroundings.training(self), self.timers.time("iteration"):
            while calls == 0 or self._iteration_goes_on(started, start_steps):
                returned = step()
                if returned is not None:
                    raise ConfigError(f"{type(self).__name__}.training_step() must return None; log metrics instead")
                calls += 1
                self.callbacks.on_env_runners_recreated(self, self.env_runner_group)
        self.iteration += 1
        evaluation = self.evaluate if due and evaluation is None else evaluation
        result = assemble_result(
            env_runners=self.env_runner_group.get_metrics(),
            learners=self.learner_results(),
            evaluation=evaluation() if evaluation is not None else None,
            fault_tolerance=fault_metrics(self.env_runner_group, self.learner_group, self.evaluation),
            timers=self.timers.result(),
            training_iteration=self.iteration,
            num_training_step_calls=calls,
            config=self.config.to_dict(),
        )
        self.add_to_result(cast(dict[str, Any], result))
        self.callbacks.on_train_result(self, result)
        return result

    def training_step(self) -> None:
        """One round of sampling and learning. The default is the synchronous on-policy one: sample, update, sync."""
        with self.timers.time("sample"):
            rollouts = self.trainable(self.env_runner_group.sample())
        with self.timers.time("learner_update"):
            self.learner_group.update(
                rollouts=rollouts,
                timesteps=self.timesteps,
                num_epochs=self.config.num_epochs,
                minibatch_size=self.config.minibatch_size,
                shuffle_batch_per_epoch=self.config.shuffle_batch_per_epoch,
            )
        with self.timers.time("synch_weights"):
            self.sync_weights()

    def profile(self) -> AbstractContextManager[Profile]:
        """Measure where the time of a ``with`` block goes; see :class:`~rlkit_core.algorithm.profile.Profile`."""
        return Profile().of(self)

    def trainable(self, by_module: Mapping[str, ItemT]) -> dict[str, ItemT]:
        """Of what is told apart by module, that of modules which learners have and may train.

        Rollouts of others (frozen opponents, modules that only runners have, modules that went while runners sampled)
        are of no use to an update.
        """
        config = self.learner_group.config
        if config is not self._trainable[0]:
            ids = self.learner_group.module_ids
            if not callable(config.policies_to_train):
                ids = [mid for mid in ids if is_trained(config, mid)]
            self._trainable = config, frozenset(ids)
        return {mid: item for mid, item in by_module.items() if mid in self._trainable[1]}

    def sync_weights(self) -> None:
        """Publish the learner's weights to the runners."""
        learners = self.learner_group
        if learners.is_local and self.env_runner_group.copy_weights(learners.learner):
            return
        self.env_runner_group.sync_weights(self.learner_group.get_weights(inference_only=True))

    @property
    def num_env_steps_sampled_lifetime(self) -> int:
        """Env steps that training has sampled since the run began."""
        return self.env_runner_group.num_env_steps_sampled_lifetime

    @property
    def timesteps(self) -> dict[str, int]:
        """Lifetime counts, as an update takes them."""
        return {"num_env_steps_sampled_lifetime": self.num_env_steps_sampled_lifetime}

    def _iteration_goes_on(self, started: float, start_steps: int) -> bool:
        config = self.config
        if self.callbacks.stopped_by is not None:
            return False
        if config.min_time_s_per_iteration and time.perf_counter() - started < config.min_time_s_per_iteration:
            return True
        return self.num_env_steps_sampled_lifetime - start_steps < (config.min_sample_timesteps_per_iteration or 0)

    # -- evaluation ---------------------------------------------------------------------------------------------------

    @property
    def eval_env_runner_group(self) -> EnvRunnerGroup | None:
        """The evaluation runners, once there was an evaluation."""
        return self.evaluation.runners

    @names_plugins
    def evaluate(self, num_episodes: int | None = None, *, seed: int | None = None) -> dict[str, Any]:
        """Play with the current weights; training's envs are not touched.

        Args:
            num_episodes: how many whole episodes (they leave no trace); what ``evaluation_duration`` says unless given.
            seed: root of the episodes' seeds; the run's seed and the iteration unless given.

        Returns:
            ``{"env_runners": {"episode_return_mean": ..., "num_episodes_cut": ..., ...}}``, over those that ended in
            time, or what ``custom_evaluation_function`` returns (unless ``num_episodes`` is given).
        """
        return self.begin_evaluation(num_episodes, seed=seed, iteration=self.iteration, training=False)()

    def begin_evaluation(
        self, num_episodes: int | None = None, *, iteration: int, seed: int | None = None, training: bool = True
    ) -> Callable[[], dict[str, Any]]:
        """Start :meth:`evaluate` on runners elsewhere; call what is returned to wait for the result.

        Args:
            num_episodes, seed: see :meth:`evaluate`.
            iteration: whose evaluation it is; seeds depend on it.
            training: training goes on meanwhile; a duration of "auto" lasts until the result is asked for.
        """
        function = self.config.custom_evaluation_function if num_episodes is None else None
        seeds = SeedTree(seed) if seed is not None else self.seeds.child("evaluation", iteration)
        around = functools.partial(self._surroundings.evaluation, self, seeds)
        with around(), self.timers.time("evaluation"):
            runners = self.evaluation.open(self.config, num_episodes)
            self.callbacks.on_evaluate_start(self)
            runners.sync_weights(self.learner_group.get_weights(inference_only=True))
            if function is not None:
                collect = self.evaluation.call(function, self, runners)
            else:
                collect = self.evaluation.begin(runners, self.config, num_episodes, seeds=seeds, training=training)

        def result() -> dict[str, Any]:
            self.evaluation.end()
            with around(), self.timers.time("evaluation"):
                metrics = collect()
            self.callbacks.on_env_runners_recreated(self, runners, is_evaluation=True)
            self.callbacks.on_evaluate_end(self, metrics)
            return metrics

        return result

    def _runner_groups(self) -> list[EnvRunnerGroup]:
        """Training's runners, and those of evaluation once there was one."""
        return [self.env_runner_group, *([self.evaluation.runners] if self.evaluation.runners is not None else [])]

    # -- parts --------------------------------------------------------------------------------------------------------

    @property
    def env_runner(self) -> Runner | None:
        """The runner in this process; None where runners are actors (see ``env_runner_group.foreach_env_runner``)."""
        return self.env_runner_group.local_env_runner

    def get_module(self, module_id: str = DEFAULT_MODULE_ID) -> RLModule | None:
        """The module as runners act with it (inference-only), or None if there is none of that id.

        It is the same object each time. Where runners are elsewhere, asking for it here is what brings it the weights
        that were synced last: who keeps it, and trains on, asks again.
        """
        module: RLModule | None = self.env_runner_group.module.get(module_id)
        return module

    def compute_single_action(
        self,
        observation: Any,
        state: Mapping[str, Any] | None = None,
        *,
        explore: bool = False,
        module_id: str = DEFAULT_MODULE_ID,
    ) -> tuple[Any, dict[str, Any]]:
        """Act on one observation, as the module's own ``compute_single_action`` does.

        Returns:
            ``(action, state)``: the action in env units, and the recurrent state for the next one (``{}`` without one).
        """
        module: RLModule = self.env_runner_group.module.acting_member(module_id)
        return module.compute_single_action(observation, state, explore=explore)

    # -- modules that come and go -------------------------------------------------------------------------------------

    @property
    def module_set(self) -> ModuleSet:
        """The modules that the config knows; learners and runners may each lack some."""
        return self._modules.known(self.config)

    def add_module(
        self,
        module_id: str,
        module_spec: RLModuleSpec,
        *,
        config_overrides: Mapping[str, Any] | None = None,
        new_agent_to_module_mapping_fn: Callable[..., str] | None = None,
        new_should_module_be_updated: ToTrain | None = None,
        add_to_learners: bool = True,
        add_to_env_runners: bool = True,
        add_to_eval_env_runners: bool = True,
    ) -> MultiRLModuleSpec:
        """Add a module while training goes on.

        Args:
            module_id: its id, a new one.
            module_spec: what to build; the algorithm, the config and the env fill what it lacks.
            config_overrides: settings that differ for it.
            new_agent_to_module_mapping_fn, new_should_module_be_updated: see :meth:`change_modules`.
            add_to_learners: whether it can be trained. A module that only runners have is in no checkpoint.
            add_to_env_runners, add_to_eval_env_runners: whether training's and evaluation's runners can act with it.

        Returns:
            The spec of all modules.

        Raises:
            ValueError: the id is malformed or taken, or agents are mapped to a module that is not there. Nothing has
                changed then.
        """
        settings = {"to_train": new_should_module_be_updated, "mapping_fn": new_agent_to_module_mapping_fn}
        takes_part = (add_to_learners, add_to_env_runners, add_to_eval_env_runners)
        known = self._modules.add(
            self.config, module_id, module_spec, overrides=config_overrides, settings=settings, takes_part=takes_part
        )
        return self._modules_changed(known)

    def remove_module(
        self,
        module_id: str,
        *,
        new_agent_to_module_mapping_fn: Callable[..., str] | None = None,
        new_should_module_be_updated: ToTrain | None = None,
        remove_from_learners: bool = True,
        remove_from_env_runners: bool = True,
        remove_from_eval_env_runners: bool = True,
    ) -> MultiRLModuleSpec:
        """Remove a module everywhere; nothing may be mapped to it any more.

        Args:
            module_id: its id.
            new_agent_to_module_mapping_fn, new_should_module_be_updated: see :meth:`add_module`.
            remove_from_learners, remove_from_env_runners, remove_from_eval_env_runners: False leaves it to those.

        Returns:
            The spec of the modules left.

        Raises:
            KeyError: there is no such module.
            ValueError: agents are still mapped to it. Nothing has changed then.
        """
        settings = {"to_train": new_should_module_be_updated, "mapping_fn": new_agent_to_module_mapping_fn}
        takes_part = (remove_from_learners, remove_from_env_runners, remove_from_eval_env_runners)
        known = self._modules.remove(self.config, module_id, settings=settings, takes_part=takes_part)
        return self._modules_changed(known)

    def change_modules(
        self,
        *,
        new_agent_to_module_mapping_fn: Callable[..., str] | None = None,
        new_should_module_be_updated: ToTrain | None = None,
    ) -> MultiRLModuleSpec:
        """Let agents use other modules from their next episode on, or other modules be trained; None changes nothing.

        Args:
            new_agent_to_module_mapping_fn, new_should_module_be_updated: `policy_mapping_fn`, `policies_to_train`.

        Returns:
            The spec of all modules.

        Raises:
            ConfigError: agents are mapped to a module that is not there, or one is to be trained that is not. Nothing
                has changed then.
        """
        settings = {"to_train": new_should_module_be_updated, "mapping_fn": new_agent_to_module_mapping_fn}
        return self._modules_changed(self._modules.change_settings(self.config, settings))

    def _modules_changed(self, known: ModuleSet) -> MultiRLModuleSpec:
        self.config = known.config
        self.sync_weights()
        return known.spec

    def match_modules_to_learner(self) -> None:
        """Give runners and config the modules that the learner has, after it was restored from elsewhere."""
        self.config = self._modules.follow_learner(self.config)

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def save_to_path(self, path: str | os.PathLike[str] | None = None, **kwargs: Any) -> str:
        """Write a checkpoint, which changes nothing; what a resumed run cannot go on with is said the first time."""
        saved: str = super().save_to_path(path, **kwargs)
        self._surroundings.say_once(self.not_exact())
        self.learner_group.checkpoint_written(saved)
        self.callbacks.on_checkpoint_saved(self, saved)
        return saved

    def not_exact(self) -> list[str]:
        """What keeps a run that is resumed now from being equal to this one, as far as it is known; empty: nothing."""
        said = [*self.env_runner_group.not_exact(), *self._surroundings.not_exact()]
        return [*said, *self.evaluation.not_exact(self.config, said)]

    @classmethod
    def from_snapshot(
        cls: type[AlgorithmT],
        snapshot: SavedComponent,
        *,
        classes: Iterable[type] = (),
        strict: bool = True,
        **kwargs: Any,
    ) -> AlgorithmT:
        """As of any component, and ``kwargs`` may be settings that take the place of the recorded ones.

        ``from_checkpoint(path, policy_mapping_fn=function)`` passes a function that a checkpoint can only name.
        """
        kwargs = with_restored_config(snapshot, (cls, *classes), kwargs)
        return super().from_snapshot(snapshot, classes=classes, strict=strict, **kwargs)

    def restore_from_path(self, path: str | os.PathLike[str], *, component: str | None = None, **kwargs: Any) -> None:
        """Load a checkpoint (or a run folder's), or one of a component into that component; runners get the weights."""
        super().restore_from_path(path, component=component, **kwargs)
        if component:
            self._push_restored_weights()
        self.callbacks.on_checkpoint_loaded(self, str(path))

    def restore_snapshot(self, snapshot: SavedComponent, *, strict: bool = True) -> None:
        """Restore all components, then give runners the restored weights."""
        super().restore_snapshot(snapshot, strict=strict)
        self._push_restored_weights()

    def _push_restored_weights(self) -> None:
        self.match_modules_to_learner()
        weights = self.weights_to_act()
        for group in self._runner_groups():
            group.sync_weights(weights)

    def weights_to_act(self) -> Weights:
        """What runners are given after a restore: the learners' weights, unless a checkpoint has others for them."""
        return self.learner_group.get_weights(inference_only=True)

    def what_is_used(self) -> Lock:
        """What the config names and what the modules here are made of; nothing else that is installed."""
        return used_by(self)

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """The learner group, under ``learner_group``."""
        return [(COMPONENT_LEARNER_GROUP, self.learner_group)]

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The config."""
        return (), {"config": self.config}

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: object,
    ) -> dict[str, Any]:
        """Counters, random state and statistics of the runners, and the state of the learner group."""
        state: dict[str, Any] = {"iteration": self.iteration, "seed": self.seeds.root}
        state["metrics"] = self.metrics.get_state()
        state |= {"last_learner_results": self.last_learner_results, "evaluation": self.evaluation.get_state()}
        state |= {"env_runners": self.env_runner_group.get_state(), "global_generators": self._surroundings.get_state()}
        return {**state, **self.get_component_states(components, not_components, **kwargs)}

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Continue from :meth:`get_state`."""
        self.iteration = int(state.get("iteration", self.iteration))
        self.metrics.set_state(state.get("metrics", {}))
        self._surroundings.set_state(state.get("global_generators"))
        if "env_runners" in state:
            self.env_runner_group.set_state(dict(state["env_runners"]))
        self.evaluation.set_state(state.get("evaluation"))
        self.last_learner_results = state.get("last_learner_results", self.last_learner_results)
        if COMPONENT_LEARNER_GROUP in state:
            self.learner_group.set_state(state[COMPONENT_LEARNER_GROUP], strict=strict)
            self._push_restored_weights()

    def stop(self) -> None:
        """Close envs and free learners; nothing is trained or evaluated afterwards. A second call does nothing."""
        self._surroundings.end()
        self.evaluation.end()
        for group in self._runner_groups():
            group.stop()
        self.learner_group.shutdown()

    def __enter__(self) -> Algorithm:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
