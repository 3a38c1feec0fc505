"""The Learner: owns the trainable modules, their optimizers, and the update."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import torch

from rlkit_core.checkpoint import Checkpointable, SavedComponent
from rlkit_core.checkpoint.migration import Migration
from rlkit_core.columns import ALL_MODULES, COMPONENT_METRICS_LOGGER, COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE, Columns
from rlkit_core.data.rollout import Rollout
from rlkit_core.errors import NonFiniteError
from rlkit_core.from_rllib import LEARNERS, SaysInstead, overridden
from rlkit_core.learner import update_data
from rlkit_core.learner.drivers import DriverSet
from rlkit_core.learner.learner_settings import pick_device
from rlkit_core.learner.membership import Members
from rlkit_core.learner.metrics import Metrics
from rlkit_core.learner.minibatch import Minibatch, ModuleBatch, as_tensors, count_minibatches, minibatches, num_rows
from rlkit_core.learner.nonfinite import FiniteCheck
from rlkit_core.learner.nonfinite_report import write_report
from rlkit_core.learner.observation_statistics import ObservationStatistics
from rlkit_core.learner.optim.effect import EffectCheck
from rlkit_core.learner.optim.fused_adam import without_compiler_import
from rlkit_core.learner.optim.optimizer_set import OptimizerSet
from rlkit_core.learner.optim.owned_schedules import OwnedSchedules
from rlkit_core.learner.override_points import OverridePoints
from rlkit_core.learner.peers import Alone, Peers, is_first
from rlkit_core.learner.row_log import RowLog
from rlkit_core.learner.step import Eager, StatefulEngine, StepEngine, make_engine
from rlkit_core.models.machine import keep_freed_memory, takes_small_steps
from rlkit_core.plugins.using import names_plugins
from rlkit_core.rl_module import MultiRLModule, MultiRLModuleSpec, RLModule, RLModuleSpec
from rlkit_core.rl_module.module_set import Difference, ModuleSet, ToTrain
from rlkit_core.rl_module.weights import Weights
from rlkit_core.seeding import SeedTree, TorchRNG


class Learner(OverridePoints, SaysInstead, Checkpointable):
    """Turns batches into better weights.

    An algorithm overrides :meth:`compute_loss_for_module`, :meth:`build_train_batch` where its loss needs more columns
    than the rollout has, and :meth:`on_module_added` for what it keeps per module. Everything else has a working
    default and is an override point of its own.

    Args:
        config: the algorithm's config.
        module_spec: spec of the module to train; the config's unless given.
        module: the module itself, instead of a spec.
        seeds: node of the seed tree that this learner draws from.

    Attributes:
        config: a copy of its own; changes of the set of modules replace it.
        metrics: what is logged here is in the next result of :meth:`update`.
        rows: what losses log per row, see :meth:`log_rows`.
        device: where modules and batches are.
        weights_seq_no: the number of updates so far.
        report_dir: where the minibatch of a ``NonFiniteError`` is saved; None is a new temporary folder each time.
        rng: its stream of random numbers.
        members: its modules, and which of them are trained.
        optimizers: who steps which parameter.
        drivers: what API mixins do for their modules.
        observation_statistics: of this update's observations.
        schedules: all that change with the timestep.
        finite: the check for losses and gradients that are not.
        peers: the learners that it averages gradients with; ``Alone`` where there are none.
        engine: takes the gradient steps.
        capturable: False keeps engines that record steps away: ``compile="auto"`` is eager then, and a named engine is
            refused. For losses that do something else from call to call which :meth:`step_variant` cannot tell.
    """

    migrates_as: ClassVar[str] = "learner"
    lies_in = ("learner_group", "learner")
    capturable: ClassVar[bool] = True
    refused_overrides = LEARNERS

    def __init__(
        self,
        *,
        config: Any,
        module_spec: RLModuleSpec | MultiRLModuleSpec | None = None,
        module: RLModule | None = None,
        seeds: SeedTree | None = None,
    ) -> None:
        self.config = config.copy()
        self._module_spec, self._given_module = module_spec, module
        self.seeds = seeds or SeedTree.from_seed(config.seed).child("learner", 0)
        self.rng = TorchRNG(self.seeds.child("torch").seed())
        self.metrics, self.rows = Metrics(), RowLog()
        self.device, self.weights_seq_no = torch.device("cpu"), 0
        self.report_dir: Path | None = Path(config.nonfinite_dir) if config.nonfinite_dir else None
        self.optimizers = OptimizerSet(overridden(self, OverridePoints, "filter_param_dict_for_optimizer"))
        self.drivers, self.observation_statistics = DriverSet(self), ObservationStatistics()
        self.schedules = OwnedSchedules(self, self.optimizers, lambda: self.module)
        self.members = Members(self)
        self.finite = FiniteCheck(self)
        self.peers: Peers = Alone()
        self.engine: StepEngine = Eager(self)
        self._counts, self._effect = update_data.UpdateCounts(), EffectCheck(type(self).__name__)

    # -- build --------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the module, its drivers and its optimizers; a second call does nothing.

        Raises:
            ModuleAPIError: the module lacks an API of :meth:`rl_module_required_apis`, or its APIs
                contradict each other.
        """
        if self.members.is_built:
            return
        self.device = self._pick_device()
        self.rng.use_device(self.device)
        with self.rng.scope():
            self.members.begin(self._make_module())
            if self.device.type == "cpu" and not takes_small_steps(self.module, self.config):
                keep_freed_memory()
            with without_compiler_import():
                self.configure_optimizers()
        self.members.changed()
        self._choose_engine()

    def _pick_device(self) -> torch.device:
        """See :func:`~rlkit_core.learner.learner_settings.pick_device`."""
        return pick_device(self.config)

    def _make_module(self) -> MultiRLModule:
        """The module given, or built from the spec given, or from the config's."""
        if self._given_module is not None:
            return self._given_module.as_multi_rl_module()
        spec = self._module_spec or self.config.get_multi_rl_module_spec()
        module: RLModule = spec.build()
        return module.as_multi_rl_module()

    # -- modules ------------------------------------------------------------------------------------------------------

    @property
    def module(self) -> MultiRLModule:
        """The modules that are trained (and those that only act), by id.

        Raises:
            RLKitError: :meth:`build` was not called.
        """
        return self.members.module

    @property
    def trained_modules(self) -> tuple[str, ...]:
        """Ids of the modules that the latest update (or the next, before the first) steps if they have rows."""
        return tuple(mid for mid in self.members.trained if mid in self.members.stepped)

    @property
    def module_set(self) -> ModuleSet:
        """Which modules there are: a value to make another one of, for :meth:`set_modules`."""
        return self.members.module_set

    def set_modules(self, module_set: ModuleSet, *, ready: Mapping[str, RLModule] | None = None) -> Difference:
        """Have other modules from now on, with optimizers, schedules, target networks and drivers' state of each.

        Modules that are not in the set go, with all that belongs to them; parameters that others share stay with those.
        Modules whose specs differ are built anew.

        Args:
            module_set: the modules, and a config that knows them.
            ready: modules that need not be built, by id.

        Returns:
            What went, and what came.

        Raises:
            ModuleAPIError: a module lacks an API that this learner needs.
            Exception: what a module raises while it is built or joins. Nothing has changed then, except that optimizers
                of modules that were to be built anew may have begun anew.
        """
        return self.members.set_modules(module_set, ready or {})

    def add_module(
        self,
        *,
        module_id: str,
        module_spec: RLModuleSpec | None = None,
        module: RLModule | None = None,
        config_overrides: Mapping[str, Any] | None = None,
        new_should_module_be_updated: ToTrain | None = None,
    ) -> MultiRLModuleSpec:
        """Add a module while training goes on: its optimizers, schedules, target networks and drivers' state too.

        Args:
            module_id: its id, a new one.
            module_spec: what to build; the algorithm's class and settings and the config's spaces fill what it lacks.
            module: the module itself, instead of a spec.
            config_overrides: settings that differ for this module.
            new_should_module_be_updated: takes the place of ``policies_to_train`` from now on.

        Returns:
            The spec of all modules.

        Raises:
            ValueError: the id is malformed or taken. Nothing has changed then, nor after any other error.
            ModuleAPIError: the module lacks an API that this learner needs.
        """
        given = module_spec if module is None else module
        if given is None or (module is not None and module_spec is not None):
            raise ValueError("add_module: give exactly one of module_spec= and module=")
        to_train = new_should_module_be_updated
        added = self.module_set.with_module(module_id, given, overrides=config_overrides, to_train=to_train)
        self.set_modules(added, ready={} if module is None else {module_id: module})
        return MultiRLModuleSpec.from_module(self.module)

    def remove_module(
        self, module_id: str, *, new_should_module_be_updated: ToTrain | None = None
    ) -> MultiRLModuleSpec:
        """Remove a module and all that belongs to it. Parameters that others share stay, with those.

        Args:
            module_id: its id.
            new_should_module_be_updated: takes the place of ``policies_to_train``; unless given, lists lose the id.

        Returns:
            The spec of the modules that are left.

        Raises:
            KeyError: there is no such module.
        """
        self.set_modules(self.module_set.without(module_id, to_train=new_should_module_be_updated))
        return MultiRLModuleSpec.from_module(self.module)

    # -- update -------------------------------------------------------------------------------------------------------

    @names_plugins
    def update(
        self,
        batch: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        rollouts: Mapping[str, Rollout | Sequence[Rollout]] | None = None,
        episodes: Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
        timesteps: Mapping[str, int] | None = None,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = False,
        num_total_minibatches: int = 0,
        reduce_metrics: bool = True,
    ) -> dict[str, Any]:
        """One update: prepare the data, step through epochs of minibatches, move schedules and targets on.

        Exactly one of ``batch``, ``rollouts`` and ``episodes`` is given. Modules that are not trained, and those
        without rows, are left out; with nothing left the update does nothing but count itself.

        Args:
            batch: ``{module id: columns}``, rows ``[B, ...]``, ready for the loss.
            rollouts: ``{module id: Rollout}``, which :meth:`build_train_batch` makes ready; several of one module,
                in a list, are joined along their envs.
            episodes: ``{module id: episodes}``, or the episodes of the only module; see
                :func:`~rlkit_core.data.foreign_episodes.rollout_from_episodes` for what an episode may be. They
                become a rollout each module.
            timesteps: lifetime counts; ``num_env_steps_sampled_lifetime`` moves the schedules. Without any, drivers
                (of target networks, say) get the steps that the learner has trained on.
            num_epochs: passes over the data.
            minibatch_size: rows per minibatch and module; None takes each module's whole batch at once.
            shuffle_batch_per_epoch: a new order for every pass.
            num_total_minibatches: stop after that many; 0 means no limit.
            reduce_metrics: False leaves the metrics until :meth:`reduce_metrics`, and returns ``{}``: of many small
                updates they are read once, together.

        Returns:
            ``{module id: {metric: number}}``, and ``ALL_MODULES`` with what belongs to none.

        Raises:
            ConfigError: not exactly one data source, or a module id that is not here.
            NonFiniteError: a loss or gradient is NaN or infinite and ``on_nonfinite`` is ``"raise"``; the weights are
                those before that minibatch, and a folder that the message names holds what replays it.
        """
        self.rows.clear()
        timesteps = dict(timesteps or {})
        data = update_data.by_module(update_data.only_source(batch, rollouts, episodes), self.module)
        chosen = self.members.choose(data)
        if not chosen:
            return self._nothing_to_do(reduce_metrics)
        with self.rng.scope(), self.schedules.here():
            self.before_gradient_based_update(timesteps=timesteps)
            self.observation_statistics.clear()
            if batch is not None:
                ready = {mid: self._as_ready(mid, columns) for mid, columns in chosen.items()}
            else:
                if episodes is not None:
                    chosen = {m: update_data.rollout_of(self.module[m], d, self.device) for m, d in chosen.items()}
                update_data.log_off_policyness(self.metrics, self.weights_seq_no, chosen)
                ready = {mid: self._prepare(mid, update_data.joined_rollout(part)) for mid, part in chosen.items()}
                ready = {mid: rows for mid, rows in ready.items() if num_rows(rows)}
            counts = count_minibatches(
                ready,
                num_epochs=num_epochs,
                minibatch_size=minibatch_size,
                num_total_minibatches=num_total_minibatches,
            )
            kind = self.step_kind if self.peers.size > 1 else None
            ready, total = self.peers.plan(list(self.module), ready, counts, minibatch_size, kind)
            if not ready:
                return self._nothing_to_do(reduce_metrics)
            self._effect.begin(ready, self.module, self.optimizers)
            self._take_steps(
                lambda: minibatches(
                    ready,
                    num_epochs=num_epochs,
                    minibatch_size=minibatch_size,
                    shuffle=shuffle_batch_per_epoch,
                    num_minibatches=total,
                )
            )
            self._effect.end(self.finite.losses, self.finite.split, self.metrics, self.optimizers)
            self.observation_statistics.take_in(self.peers)
            self.weights_seq_no += 1
            self.after_gradient_based_update(timesteps=timesteps)
            self.schedules.moved(timesteps)
            counted = update_data.with_own_count(timesteps, self.metrics, ready)
            for module_id in ready:
                self.drivers.after_update(module_id, self.module[module_id].unwrapped(), counted)
        self._counts.log(self.metrics, ready, self.weights_seq_no, self.members.parameter_counts)
        return self.metrics.reduce() if reduce_metrics else {}

    def update_from_batch(self, batch: Mapping[str, Mapping[str, Any]], **kwargs: Any) -> dict[str, Any]:
        """:meth:`update` with ready columns."""
        return self.update(batch=batch, **kwargs)

    def update_from_episodes(self, episodes: Any, **kwargs: Any) -> dict[str, Any]:
        """:meth:`update` with episodes."""
        return self.update(episodes=episodes, **kwargs)

    def reduce_metrics(self) -> dict[str, Any]:
        """The metrics of all updates since they were last reduced, as :meth:`update` returns those of one."""
        return self.metrics.reduce()

    def _as_ready(self, module_id: str, columns: Mapping[str, Any]) -> ModuleBatch:
        rows = as_tensors(columns, self.device)
        mask: Any = rows.get(Columns.LOSS_MASK)
        self.observation_statistics.gather(self.module[module_id], rows.get(Columns.OBS), mask)
        return self.drivers.before_ready(module_id, rows)

    def _prepare(self, module_id: str, rollout: Rollout) -> ModuleBatch:
        rollout, module = rollout.to(self.device), self.module[module_id]
        module.eval()
        self.observation_statistics.gather(module, rollout[Columns.OBS], rollout.loss_mask)
        rollout = self.drivers.on_rollout(module_id, module.unwrapped(), rollout)
        self.drivers.before_update(module_id, module.unwrapped(), rollout.columns)
        with torch.no_grad():
            return self.build_train_batch(module_id, rollout)

    def see_rollouts(self, rollouts: Mapping[str, Rollout]) -> dict[str, Rollout]:
        """See :meth:`~rlkit_core.learner.drivers.DriverSet.see_rollouts`."""
        return self.drivers.see_rollouts(rollouts)

    def _take_steps(self, make_minibatches: Callable[[], Iterator[Minibatch]]) -> None:
        """A gradient step on every minibatch of an update."""
        engine, peers = self.engine, self.peers
        engine.begin_update()
        minibatch: Minibatch = {}
        try:
            for minibatch in make_minibatches():
                peers.begin(minibatch)
                engine.step(minibatch)
                peers.end()
            engine.end_update()
        except NonFiniteError as error:
            if error.minibatch_index is not None:  # the same random numbers make the same minibatches
                minibatch = next(islice(make_minibatches(), error.minibatch_index, None))
            raise write_report(self, error, minibatch) from None
        except KeyError as error:
            update_data.say_what_lacks(error, minibatch, type(self).__name__)
            raise

    def _nothing_to_do(self, reduce_metrics: bool) -> dict[str, Any]:
        count = is_first(self.peers)
        self.metrics.log_value((ALL_MODULES, "num_empty_updates_lifetime"), count, reduce="lifetime_sum")
        return self.metrics.reduce() if reduce_metrics else {}

    # -- who takes steps, and with whom -------------------------------------------------------------------------------

    def _choose_engine(self) -> None:
        own_update = type(self)._update is not Learner._update
        self.engine = make_engine(self, capturable=self.capturable, own_update=own_update)

    def join(self, peers: Peers) -> None:
        """Learn together with others from now on: gradients are averaged, choices made in common."""
        self.peers = peers
        self._choose_engine()

    def leave(self) -> None:
        """Leave the others, and learn alone from now on."""
        self.peers.leave()
        self.join(Alone())

    # -- state --------------------------------------------------------------------------------------------------------

    def get_weights(self, module_ids: Collection[str] | None = None, *, inference_only: bool = True) -> Weights:
        """The modules' weights, copied, with their version.

        Args:
            module_ids: only these; all unless given.
            inference_only: without what acting does not need.
        """
        ids = None if module_ids is None else list(module_ids)
        return Weights(self.weights_seq_no, self.module.get_state(ids, inference_only=inference_only))

    def set_weights(self, weights: Weights | Mapping[str, Any]) -> None:
        """Take over the full weights of some modules, or all; optimizers keep their state."""
        state = weights.state if isinstance(weights, Weights) else weights
        self.members.set_states(state, strict=True)

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """The module, under ``rl_module``."""
        return [(COMPONENT_RL_MODULE, self.module)]

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Config and module spec."""
        return (), {"config": self.config, "module_spec": MultiRLModuleSpec.from_module(self.module)}

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Everything a continued run needs.

        Args:
            components: only these parts: ``"rl_module"``, ``"rl_module/p0"``, ``"optimizer"``, ``"metrics_logger"``.
            not_components: all but these.
            inference_only: weights without what acting does not need.
            **kwargs: not used.

        Returns:
            The module's part under ``rl_module``, the optimizers' under ``optimizer``, always ``weights_seq_no``;
            unless ``components`` is given random state, states of drivers, schedules and step engine, and which modules
            there are.
        """
        state: dict[str, Any] = {"weights_seq_no": self.weights_seq_no}
        if components is None:
            state.update(self.module_set.to_data(), rng=self.rng.get_state())
            state.update(drivers=self.drivers.get_state(), schedules=self.schedules.get_state())
            if self.rng.get_gpu_state() is not None:
                state["rng_gpu"] = self.rng.get_gpu_state()
            if isinstance(self.engine, StatefulEngine):
                state["step_engine"] = self.engine.get_state()
        if self._check_component(COMPONENT_OPTIMIZER, components, not_components):
            state[COMPONENT_OPTIMIZER] = self._get_optimizer_state()
        if self._check_component(COMPONENT_METRICS_LOGGER, components, not_components):
            state[COMPONENT_METRICS_LOGGER] = self.metrics.get_state()
        return {**state, **self.get_component_states(components, not_components, inference_only=inference_only)}

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Continue from :meth:`get_state`; parts that are absent are left as they are.

        A complete state also decides which modules there are: those that it has beside ours are added as they were,
        those that it lacks are removed, and one of the same class and spaces whose settings gave it other layers is
        built anew, with a warning.

        Raises:
            StateError: a member is of another class or for other spaces, and names or shapes differ.
        """
        self.members.match(state)
        if COMPONENT_RL_MODULE in state:
            self.members.set_states(state[COMPONENT_RL_MODULE], strict=strict)
        if COMPONENT_OPTIMIZER in state:
            self._set_optimizer_state(state[COMPONENT_OPTIMIZER])
        if COMPONENT_METRICS_LOGGER in state:
            self.metrics.set_state(state[COMPONENT_METRICS_LOGGER])
        if "rng" in state:
            self.rng.set_state(state["rng"])
            self.rng.set_gpu_state(state.get("rng_gpu"))
        self.drivers.set_state(state.get("drivers", {}))
        if "schedules" in state:
            self.schedules.set_state(state["schedules"])
        if "step_engine" in state and isinstance(self.engine, StatefulEngine):
            self.engine.set_state(state["step_engine"])
        self.weights_seq_no = int(state.get("weights_seq_no", self.weights_seq_no))

    def migrate_parts(self, state: dict[str, Any], migration: Migration) -> dict[str, Any]:
        """Let the plugins of the drivers bring their states up to date."""
        drivers = {name: migration.ask(name, "driver", own) for name, own in state.get("drivers", {}).items()}
        return {**state, "drivers": drivers} if drivers else state

    def restore_snapshot(self, snapshot: SavedComponent, *, strict: bool = True) -> None:
        """Bring the set of modules to that of a checkpoint, then restore all parts."""
        with snapshot.as_built_before():
            self.build()
            state = snapshot.state()
            if COMPONENT_RL_MODULE in snapshot.components:
                self.members.match(state)
        super().restore_snapshot(snapshot, strict=strict)

    def shutdown(self) -> None:
        """Free what the learner holds."""
