"""Several learners as a :class:`~rlkit_core.learner.LearnerGroup`: actors of an executor that average gradients."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from attrs import frozen

from rlkit_core.checkpoint.saved_component import SavedComponent
from rlkit_core.columns import COMPONENT_LEARNER
from rlkit_core.data.rollout import Rollout
from rlkit_core.errors import ActorError, ConfigError, RLKitError
from rlkit_core.execution import Executor, make_executor
from rlkit_core.from_rllib import refuse_async
from rlkit_core.learner import STATE_AFTER_UPDATE, Learner, LearnerGroup
from rlkit_core.learner.group.config import learner_problems
from rlkit_core.learner.group.learner_group import OTHERS
from rlkit_core.learner.learner_settings import GroupSettings
from rlkit_core.plugins.used.lock import Lock
from rlkit_core.rl_module import MultiRLModuleSpec, RLModuleSpec
from rlkit_core.rl_module.module_set import ModuleSet
from rlkit_core.seeding import SeedTree
from rlkit_processes.learners import states, team
from rlkit_processes.learners.merge_results import merge_results
from rlkit_processes.learners.sharding import Shards, shard
from rlkit_processes.learners.team import Team


@frozen(eq=False)
class _Pending:
    """An update that is under way."""

    shards: Shards
    futures: list[Future[Any]]
    weights: Future[Any] | None
    restarts: int


class SeveralLearners(LearnerGroup):
    """Learners that are actors, one or more: what ``learners(num_learners=...)`` above 0 means.

    Arguments, attributes and methods are those of :class:`~rlkit_core.learner.LearnerGroup`.
    """

    def make_learners(
        self,
        config: GroupSettings,
        module_spec: MultiRLModuleSpec | RLModuleSpec | None,
        seeds: SeedTree,
        executor: Executor | None,
        used: Callable[[], Lock] | None,
    ) -> None:
        """Start them, and let them find each other.

        Raises:
            ConfigError: the executor does not run them beside each other, or settings that several cannot have.
        """
        chosen = _executor_for(config) if executor is None else executor
        _check(config, chosen)
        self._config = config
        self._team = Team(
            chosen,
            config,
            config.get_multi_rl_module_spec(inference_only=False) if module_spec is None else module_spec,
            seeds,
            size=config.num_learners,
            owns_executor=executor is None,
            used=used,
        )
        self._under_way: deque[_Pending] = deque()
        self._steps_dropped = 0
        self._shards: Shards | None = None
        self._restarts = 0  # when the latest update began
        self._listening: Collection[str] = ()  # modules whose drivers hear of rollouts
        self._modules_changed()

    # -- the learners -------------------------------------------------------------------------------------------------

    def call_first(self, method: str | Callable[..., Any], /, *args: object, **kwargs: object) -> Any:
        """Ask the first learner."""
        return self._team.first(method, *args, **kwargs)

    def call_all(self, method: str | Callable[..., Any], /, *args: object, **kwargs: object) -> list[Any]:
        """Ask every learner; they answer beside each other."""
        return self._team.all(method, *args, **kwargs)

    def foreach_learner(self, func: Callable[[Learner], Any], *, return_exceptions: bool = False) -> list[Any]:
        """``func(learner)`` for each learner, where it is."""
        if not return_exceptions:
            return self._team.all(func)
        self._team.heal()
        futures = self._team.call(func).values()
        return [error if (error := future.exception()) is not None else future.result() for future in futures]

    @property
    def config(self) -> Any:
        """The learners' config, which knows the modules that were added and removed."""
        return self._config

    @property
    def is_local(self) -> bool:
        """They are actors, even where the executor is that of this process."""
        return False

    def __len__(self) -> int:
        return self._team.size

    @property
    def learner(self) -> Learner:
        """There is none to touch here.

        Raises:
            RLKitError: always.
        """
        raise RLKitError(
            f"num_learners={len(self)}: learners are actors of their own, so there is none to touch here; ask them "
            "with foreach_learner(lambda learner: ...), get_weights() or get_state()"
        )

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
        """Divide the data, and let every learner update on its part; once more where one of them died."""
        refuse_async(kwargs)
        shards = self._divide({"batch": batch, "rollouts": rollouts, "episodes": episodes})
        while True:
            if self._team.broken:
                self._drop_all()
                self._team.heal()
            try:
                return self._result(self._start(shards, kwargs, return_state))
            except Exception as error:
                self._drop_all()
                if not self._team.recover(error):
                    raise

    def _divide(self, source: dict[str, Any]) -> Shards:
        if len(self) == 1:
            return Shards([source], {}, 0)
        return shard(len(self), **source)

    def _start(self, shards: Shards, kwargs: Mapping[str, Any], return_state: bool) -> _Pending:
        self._shards, self._restarts = shards, self._team.num_restarts
        futures = self._team.start_update([{**own, **kwargs} for own in shards.arguments])
        weights = self._team.actors[0].call("get_weights") if return_state else None
        return _Pending(shards, futures, weights, self._team.num_restarts)

    def _result(self, pending: _Pending) -> dict[str, Any]:
        result = self.record(merge_results(self._team.results(pending.futures, patience=team.PATIENCE)))
        return result if pending.weights is None else {**result, STATE_AFTER_UPDATE: pending.weights.result()}

    def async_update(
        self,
        batch: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        rollouts: Mapping[str, Rollout | Sequence[Rollout]] | None = None,
        episodes: Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
        return_state: bool = False,
        **kwargs: object,
    ) -> list[dict[str, Any]]:
        """Begin an update, and give the results of those that have ended."""
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
        """Metrics of all learners, put together as :meth:`update` does."""
        parts = self.foreach_learner(lambda learner: (learner.reduce_metrics(), dict(learner.metrics.kinds)))
        return self.record(merge_results(parts))

    def see_rollouts(self, rollouts: Mapping[str, Rollout]) -> dict[str, Rollout]:
        """Rollouts as the first learner's drivers leave them; they stay here where none of those listens."""
        if not any(module_id in self._listening for module_id in rollouts):
            return dict(rollouts)
        seen: dict[str, Rollout] = self._team.first("see_rollouts", dict(rollouts))
        return seen

    def take_rows(self) -> dict[str, dict[str, Any]]:
        """Rows of all learners, in the order of the data; none where a learner that had some is gone since."""
        try:
            parts = self._team.all("take_rows")
        except ActorError as error:
            if not self._team.recover(error):
                raise
            return {}
        if self._restarts != self._team.num_restarts:
            return {}
        if len(parts) == 1 or self._shards is None:
            return parts[0]  # type: ignore[no-any-return]
        return self._shards.join(parts)

    # -- modules and weights ------------------------------------------------------------------------------------------

    def set_modules(self, module_set: ModuleSet) -> MultiRLModuleSpec:
        """Give every learner the same modules; new ones begin with equal weights."""
        differences = self._team.all_alike("set_modules", module_set)
        new = list(differences[0].new)
        if new and len(self) > 1:  # learners draw equal numbers only as long as their shards are equally large
            self.set_weights(self.get_weights(new, inference_only=False))
        self._modules_changed()
        return self._team.first(lambda learner: MultiRLModuleSpec.from_module(learner.module))

    def _modules_changed(self) -> None:
        self._config = self._team.first(lambda learner: learner.config)
        self._listening = self._team.first(
            lambda learner: {mid for mid in learner.module if learner.drivers.hears(mid, "on_rollout")}
        )

    def get_stats(self) -> dict[str, Any]:
        """What is under way, and what was lost: updates that wait or run, steps that were dropped, restarts."""
        return {
            "learner_group_ts_dropped_lifetime": self._steps_dropped,
            "actor_manager_num_outstanding_async_reqs": len(self._under_way) * len(self),
            "num_learner_restarts": self._team.num_restarts,
        }

    def get_fault_metrics(self) -> dict[str, int]:
        """Restarts of learners so far."""
        return {"num_learner_restarts": self._team.num_restarts}

    def checkpoint_written(self, path: str) -> None:
        """Keep the path for the error that says that no learner is left."""
        self._team.newest_checkpoint = path

    # -- state --------------------------------------------------------------------------------------------------------

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """The first learner, under ``learner``, which stands for all."""
        return [(COMPONENT_LEARNER, states.RemoteLearner(self._team, self._modules_changed))]

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: object,
    ) -> dict[str, Any]:
        """The first learner's state, and beside it, unless only some components are asked for, what is others' own."""
        state: dict[str, Any] = {}
        if len(self) > 1 and components is None:
            state[OTHERS] = self._team.all_alike(states.own_part)[1:]
        return {**state, **self.get_component_states(components, not_components, **kwargs)}

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Continue from :meth:`get_state`, of a group of as many learners or of another number."""
        if COMPONENT_LEARNER in state:
            self._team.all_alike("set_state", state[COMPONENT_LEARNER], strict=strict)
            self._modules_changed()
        if COMPONENT_LEARNER in state or OTHERS in state:
            states.divide(self._team, state.get(OTHERS) or [])

    def restore_snapshot(self, snapshot: SavedComponent, *, strict: bool = True) -> None:
        """Restore all learners, with or without states of others."""
        super().restore_snapshot(snapshot, strict=strict)
        if OTHERS not in snapshot.state():
            states.divide(self._team, [])

    def shutdown(self) -> None:
        """End the learners; a second call does nothing."""
        self._under_way.clear()
        self._team.stop()


def _executor_for(config: GroupSettings) -> Executor:
    executor = make_executor(config.executor, role="learner", plugin_config=config.plugin_config)
    executor.threads = None  # learners choose the number when they know their networks
    return executor


def _check(config: GroupSettings, executor: Executor) -> None:
    """Raise ConfigError unless ``executor`` can run the config's learners beside each other, as the config wants it."""
    for problem in learner_problems(config):
        raise ConfigError(problem)
    if config.num_learners > 1 and not executor.concurrent:
        raise ConfigError(
            f"num_learners={config.num_learners}: a {type(executor).__name__} runs learners one after the other, but "
            "they average gradients while they run; give another executor, or use num_learners=0"
        )
