"""The LearnerGroup: one learner here, or several behind an executor; callers do not see which."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from attrs import frozen

from rlkit_core.checkpoint import Checkpointable
from rlkit_core.checkpoint.saved_component import SavedComponent
from rlkit_core.columns import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP
from rlkit_core.data.rollout import Rollout
from rlkit_core.errors import ActorError, RLKitError
from rlkit_core.execution import Executor
from rlkit_core.learner.group import actors, checkpointing
from rlkit_core.learner.group.actors import Team
from rlkit_core.learner.group.config import check, executor_for
from rlkit_core.learner.group.merge_results import merge_results
from rlkit_core.learner.group.sharding import Shards, shard
from rlkit_core.learner.learner import Learner
from rlkit_core.learner.learner_settings import GroupSettings
from rlkit_core.plugins.used.lock import Lock
from rlkit_core.rl_module import MultiRLModuleSpec, RLModuleSpec
from rlkit_core.rl_module.module_set import ModuleSet, ToTrain
from rlkit_core.rl_module.weights import Weights
from rlkit_core.seeding import SeedTree

_LOG = logging.getLogger(__name__)
#: Where ``update(return_state=True)`` puts the weights, beside the modules' results.
STATE_AFTER_UPDATE = "_rl_module_state_after_update"


@frozen(eq=False)
class _Pending:
    """An update that is under way."""

    shards: Shards
    futures: list[Future[Any]]
    weights: Future[Any] | None
    restarts: int


class LearnerGroup(Checkpointable):
    """Learners that are updated together.

    With ``num_learners=0`` there is one, in this process. Otherwise each is an actor of an executor, and gradients are
    averaged over them at every minibatch; all keep the same weights. What :meth:`update` gets is divided among them.

    Args:
        config: the algorithm's config.
        module_spec: spec of the modules to train; the config's unless given.
        executor: where learners run; the config says so unless given. One that is given is not stopped.
        seeds: node of the seed tree.
        used: what learners use of what is installed, asked when one is started; only that has to be the same there.

    Attributes:
        last_results: what the last update returned that returned something (metrics that are reduced later are
            recorded then); without weights.

    Raises:
        ConfigError: several learners in one process, or settings that several learners cannot have.
    """

    lies_in = (COMPONENT_LEARNER_GROUP,)

    def __init__(
        self,
        *,
        config: GroupSettings,
        module_spec: MultiRLModuleSpec | RLModuleSpec | None = None,
        executor: Executor | None = None,
        seeds: SeedTree | None = None,
        used: Callable[[], Lock] | None = None,
    ) -> None:
        chosen = executor_for(config) if executor is None else executor
        check(config, chosen)
        self._is_local = bool(config.num_learners == 0)
        self._config = config
        if module_spec is None and not self._is_local:
            module_spec = config.get_multi_rl_module_spec(inference_only=False)
        self._team = Team(
            chosen,
            config,
            module_spec,
            (seeds or SeedTree.from_seed(config.seed)).child("learner", 0),
            size=max(1, config.num_learners),
            owns_executor=executor is None,
            used=used,
        )
        self._under_way: deque[_Pending] = deque()
        self._steps_dropped = 0
        self.last_results: dict[str, Any] = {}
        self._shards: Shards | None = None
        self._listening: Collection[str] = ()  # modules of learners elsewhere whose drivers hear of rollouts
        if not self._is_local:
            self._modules_changed()

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def config(self) -> Any:
        """The learners' config, which knows the modules that were added and removed."""
        return self.learner.config if self._is_local else self._config

    @property
    def is_local(self) -> bool:
        """Whether the learner is in this process."""
        return self._is_local

    @property
    def is_remote(self) -> bool:
        """Whether learners are elsewhere."""
        return not self._is_local

    def __len__(self) -> int:
        return self._team.size

    def __bool__(self) -> bool:
        return True

    @property
    def learner(self) -> Learner:
        """The local learner.

        Raises:
            RLKitError: learners are elsewhere.
        """
        if not self._is_local:
            raise RLKitError(
                f"num_learners={len(self)}: learners are actors of their own, so there is none to touch here; ask them "
                "with foreach_learner(lambda learner: ...), get_weights() or get_state()"
            )
        learner: Learner = self._team.actors[0].instance  # type: ignore[attr-defined]
        return learner

    @property
    def module_ids(self) -> list[str]:
        """Ids of the learners' modules."""
        return list(self.module_set)

    @property
    def weights_seq_no(self) -> int:
        """The number of updates so far."""
        return self._team.first(lambda learner: learner.weights_seq_no)

    # -- updates ------------------------------------------------------------------------------------------------------

    def update(
        self,
        batch: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        rollouts: Mapping[str, Rollout | Sequence[Rollout]] | None = None,
        episodes: Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
        return_state: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """:meth:`Learner.update` on every learner, each with its part of the data.

        Batches are divided by rows, rollouts by envs, episodes by number; ``minibatch_size`` is that of one learner. A
        module with less than one row, env or episode per learner is left out. When a learner dies, it is started again
        with the state of another, and the update is done once more from there.

        Args:
            batch: as for ``Learner.update``.
            rollouts: as there.
            episodes: as there.
            return_state: put the new weights (``get_weights()``) under ``"_rl_module_state_after_update"``.
            **kwargs: as there.

        Returns:
            Means over the learners of what is a mean, sums of what is counted, the first's of what is the same on all.

        Raises:
            ActorError: a learner died once too often (``fault_tolerance(max_num_learner_restarts=...)``).
            Exception: what one learner's update raised, in its own type.
        """
        source: dict[str, Any] = {"batch": batch, "rollouts": rollouts, "episodes": episodes}
        if self._is_local and not return_state:
            return self._recorded(self.learner.update(**source, **kwargs))
        shards = self._divide(source)
        while True:
            if self._team.broken:
                self._drop_all()
                self._team.heal()
            try:
                return self._result(self._start(shards, kwargs, return_state))
            except Exception as error:
                self._drop_all()
                if self._is_local or not self._team.recover(error):
                    raise

    def _divide(self, source: dict[str, Any]) -> Shards:
        if len(self) == 1:
            return Shards([source], {}, 0)
        return shard(len(self), **source)

    def _start(self, shards: Shards, kwargs: Mapping[str, Any], return_state: bool) -> _Pending:
        self._shards = shards
        futures = self._team.start_update([{**own, **kwargs} for own in shards.arguments])
        weights = self._team.actors[0].call("get_weights") if return_state else None
        return _Pending(shards, futures, weights, self._team.num_restarts)

    def _result(self, pending: _Pending) -> dict[str, Any]:
        result = self._recorded(merge_results(self._team.results(pending.futures, patience=actors.PATIENCE)))
        return result if pending.weights is None else {**result, STATE_AFTER_UPDATE: pending.weights.result()}

    def _recorded(self, result: dict[str, Any]) -> dict[str, Any]:
        if any(result.values()):
            self.last_results = result
        return result

    def update_from_batch(self, batch: Mapping[str, Mapping[str, Any]], **kwargs: Any) -> dict[str, Any]:
        """:meth:`update` with ready columns."""
        return self.update(batch=batch, **kwargs)

    def update_from_episodes(
        self, episodes: Mapping[str, Sequence[Any]] | Sequence[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """:meth:`update` with episodes."""
        return self.update(episodes=episodes, **kwargs)

    def async_update(
        self,
        batch: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        rollouts: Mapping[str, Rollout | Sequence[Rollout]] | None = None,
        episodes: Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
        return_state: bool = False,
        **kwargs: object,
    ) -> list[dict[str, Any]]:
        """Begin an update and return at once.

        At most ``max_requests_in_flight_per_learner`` updates wait or run; data that comes beyond that is dropped, and
        its steps are counted in :meth:`get_stats`. Updates run in the order in which they were given.

        Args:
            batch: as for :meth:`update`, as are the others.
            rollouts: see there.
            episodes: see there.
            return_state: see there.
            **kwargs: see there.

        Returns:
            Results of updates that have ended since the last call, in order; perhaps none.

        Raises:
            ValueError: for learners in this process.
            Exception: what an earlier update raised, in its own type; the updates behind it are dropped, and so is
                the data given now.
        """
        if self._is_local:
            raise ValueError("async_update: learners in this process update at once; use update()")
        shards = shard(len(self), batch=batch, rollouts=rollouts, episodes=episodes)
        results = []
        while self._under_way and (self._team.broken or all(future.done() for future in self._under_way[0].futures)):
            pending = self._under_way.popleft()
            try:
                results.append(self._result(pending))
            except Exception as error:
                self._steps_dropped += pending.shards.num_steps
                if isinstance(error, ActorError) and pending.restarts != self._team.num_restarts:
                    continue  # it was lost when a learner died, which has been started again since
                self._drop_all()
                if not self._team.recover(error):
                    self._steps_dropped += shards.num_steps
                    raise
        if len(self._under_way) >= self.config.max_requests_in_flight_per_learner:
            self._steps_dropped += shards.num_steps
        else:
            self._team.heal()
            self._under_way.append(self._start(shards, kwargs, return_state))
        return results

    def _drop_all(self) -> None:
        """Give up the updates behind one that failed, when they have come back."""
        if self._under_way:
            self._team.disband()
        while self._under_way:
            pending = self._under_way.popleft()
            self._steps_dropped += pending.shards.num_steps
            for future in pending.futures:
                future.exception()

    def reduce_metrics(self) -> dict[str, Any]:
        """:meth:`Learner.reduce_metrics` of all learners, put together as :meth:`update` does."""
        parts = self.foreach_learner(lambda learner: (learner.reduce_metrics(), dict(learner.metrics.kinds)))
        return self._recorded(merge_results(parts))

    def see_rollouts(self, rollouts: Mapping[str, Rollout]) -> dict[str, Rollout]:
        """:meth:`Learner.see_rollouts` of the first learner: what an algorithm asks for before it keeps rollouts."""
        if self._is_local:
            return self.learner.see_rollouts(rollouts)
        if not any(module_id in self._listening for module_id in rollouts):
            return dict(rollouts)
        seen: dict[str, Rollout] = self._team.actors[0].call("see_rollouts", dict(rollouts)).result()
        return seen

    def take_rows(self) -> dict[str, dict[str, Any]]:
        """:meth:`Learner.take_rows` of all learners, ``{module id: {name: [rows, ...]}}``, in the order of the data."""
        parts = self._team.all("take_rows")
        if len(parts) == 1 or self._shards is None:
            return parts[0]  # type: ignore[no-any-return]
        return self._shards.join(parts)

    # -- modules and weights ------------------------------------------------------------------------------------------

    def add_module(
        self,
        *,
        module_id: str,
        module_spec: RLModuleSpec,
        config_overrides: Mapping[str, Any] | None = None,
        new_should_module_be_updated: ToTrain | None = None,
    ) -> MultiRLModuleSpec:
        """:meth:`Learner.add_module` on every learner; the spec of all modules."""
        return self.set_modules(
            self.module_set.with_module(
                module_id, module_spec, overrides=config_overrides, to_train=new_should_module_be_updated
            )
        )

    def remove_module(
        self, module_id: str, *, new_should_module_be_updated: ToTrain | None = None
    ) -> MultiRLModuleSpec:
        """:meth:`Learner.remove_module` on every learner; the spec of the modules left."""
        return self.set_modules(self.module_set.without(module_id, to_train=new_should_module_be_updated))

    @property
    def module_set(self) -> ModuleSet:
        """Which modules the learners have."""
        return self._team.first(lambda learner: learner.module_set)

    def set_modules(self, module_set: ModuleSet) -> MultiRLModuleSpec:
        """:meth:`Learner.set_modules` on every learner; the spec of all modules."""
        differences = self._team.all("set_modules", module_set)
        new = list(differences[0].new)
        if new and len(self) > 1:  # learners draw equal numbers only as long as their shards are equally large
            self.set_weights(self.get_weights(new, inference_only=False))
        self._modules_changed()
        return self._team.first(lambda learner: MultiRLModuleSpec.from_module(learner.module))

    def _modules_changed(self) -> None:
        if not self._is_local:
            self._config = self._team.first(lambda learner: learner.config)
            self._listening = self._team.first(
                lambda learner: {mid for mid in learner.module if learner.drivers.hears(mid, "on_rollout")}
            )

    def foreach_learner(self, func: Callable[[Learner], Any], *, return_exceptions: bool = False) -> list[Any]:
        """``func(learner)`` for each learner, where it is; results in the learners' order.

        Args:
            func: is sent to learners that are elsewhere, with all it refers to.
            return_exceptions: put what it raises in place of its result; else the first is raised when all are done.
        """
        if not return_exceptions:
            return self._team.all(func)
        self._team.heal()
        futures = self._team.call(func).values()
        return [error if (error := future.exception()) is not None else future.result() for future in futures]

    def get_weights(self, module_ids: Collection[str] | None = None, *, inference_only: bool = True) -> Weights:
        """Weights of the modules (or of those given) with their version."""
        ids = None if module_ids is None else list(module_ids)
        return self._team.first("get_weights", ids, inference_only=inference_only)  # type: ignore[no-any-return]

    def set_weights(self, weights: Weights | Mapping[str, Any]) -> None:
        """Let every learner take over full weights (``inference_only=False``) of some modules, or all."""
        self._team.all("set_weights", weights)

    def get_stats(self) -> dict[str, Any]:
        """What is under way, and what was lost: updates that wait or run, steps that were dropped, restarts."""
        return {
            "learner_group_ts_dropped_lifetime": self._steps_dropped,
            "actor_manager_num_outstanding_async_reqs": len(self._under_way) * len(self),
            "num_learner_restarts": self._team.num_restarts,
        }

    # -- state --------------------------------------------------------------------------------------------------------

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """The learner, under ``learner``; of several, the first, which stands for all."""
        if self._is_local:
            return [(COMPONENT_LEARNER, self.learner)]
        return [(COMPONENT_LEARNER, checkpointing.RemoteLearner(self._team, self._modules_changed))]

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Config and module spec."""
        _, kwargs = self._team.first("get_ctor_args_and_kwargs")
        return (), {"config": self.config, "module_spec": kwargs["module_spec"]}

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: object,
    ) -> dict[str, Any]:
        """``{"learner": state of the learner}``; of several, the first's.

        ``"others"`` has what differs on the others (random state, counts, statistics of their own), unless only some
        components are asked for.
        """
        state: dict[str, Any] = {}
        if len(self) > 1 and components is None:
            state[checkpointing.OTHERS] = self._team.all(checkpointing.own_part)[1:]
        return {**state, **self.get_component_states(components, not_components, **kwargs)}

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Continue from :meth:`get_state`, of a group of as many learners or of another number."""
        if COMPONENT_LEARNER in state:
            self._team.all("set_state", state[COMPONENT_LEARNER], strict=strict)
            self._modules_changed()
        if COMPONENT_LEARNER in state or checkpointing.OTHERS in state:
            checkpointing.divide(self._team, state.get(checkpointing.OTHERS) or [])

    def restore_snapshot(self, snapshot: SavedComponent, *, strict: bool = True) -> None:
        """Restore all learners, with or without states of others."""
        super().restore_snapshot(snapshot, strict=strict)
        if checkpointing.OTHERS not in snapshot.state():
            checkpointing.divide(self._team, [])

    def shutdown(self) -> None:
        """End the learners; a second call does nothing."""
        self._under_way.clear()
        self._team.stop()
