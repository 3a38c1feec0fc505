"""The LearnerGroup: the learner of this process, or several elsewhere that a plugin runs; callers do not see which."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from rlkit_core.checkpoint import Checkpointable
from rlkit_core.columns import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP, COMPONENT_METRICS_LOGGER
from rlkit_core.data.rollout import Rollout
from rlkit_core.errors import ConfigError
from rlkit_core.execution import Executor
from rlkit_core.from_rllib import SaysInstead, refuse_async
from rlkit_core.learner.group.config import SEVERAL
from rlkit_core.learner.learner import Learner
from rlkit_core.learner.learner_settings import GroupSettings
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.used.lock import Lock
from rlkit_core.plugins.using import code_of
from rlkit_core.rl_module import MultiRLModuleSpec, RLModuleSpec
from rlkit_core.rl_module.module_set import ModuleSet, ToTrain
from rlkit_core.rl_module.weights import Weights
from rlkit_core.seeding import SeedTree

#: Where ``update(return_state=True)`` puts the weights, beside the modules' results.
STATE_AFTER_UPDATE = "_rl_module_state_after_update"
#: Name in a group's state of what the learners after the first have for themselves.
OTHERS = "others"


def make_learner(
    config: GroupSettings, module_spec: MultiRLModuleSpec | RLModuleSpec | None, seeds: SeedTree
) -> Learner:
    """A built learner of the config's class."""
    learner_class = config.learner_class
    with code_of(learner_class, f"learner class {learner_class.__name__}, when it was built"):
        learner: Learner = learner_class(config=config, module_spec=module_spec, seeds=seeds)
        learner.build()
    return learner


def add_counts(learner: Learner, others: Sequence[Mapping[str, Any]]) -> None:
    """Add lifetime counts of other learners, out of their parts of a group's state, to those of one learner."""
    total = dict(learner.metrics.get_state())
    for part in others:
        for name, count in part.get(COMPONENT_METRICS_LOGGER, {}).items():
            total[name] = total.get(name, 0.0) + count
    learner.metrics.set_state(total)


class LearnerGroup(SaysInstead, Checkpointable):
    """Learners that are updated together.

    With ``num_learners=0`` there is one, in this process. Otherwise each is an actor of an executor, and gradients are
    averaged over them at every minibatch; all keep the same weights. What :meth:`update` gets is divided among them.

    This class is the group of one; for others it makes an object of the subclass that a plugin registers as a service
    of kind ``learner_group`` (``rlkit-processes``, which comes with every algorithm). A subclass makes its learners in
    :meth:`make_learners`, asks them in :meth:`call_first` and :meth:`call_all`, and overrides what is more than asking.

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
        ConfigError: several learners in one process, or settings that several learners cannot have; an executor for
            the learner of this process.
        PluginNotFoundError: ``num_learners`` is above 0, and nothing installed runs them; says the line to install.
    """

    lies_in = (COMPONENT_LEARNER_GROUP,)

    def __new__(cls, *, config: GroupSettings, **others: object) -> LearnerGroup:
        """Of this class, an object of the subclass for as many learners as the config wants."""
        if cls is LearnerGroup and config.num_learners:
            cls = default_host().get_service("learner_group", SEVERAL)
        return super().__new__(cls)

    def __init__(
        self,
        *,
        config: GroupSettings,
        module_spec: MultiRLModuleSpec | RLModuleSpec | None = None,
        executor: Executor | None = None,
        seeds: SeedTree | None = None,
        used: Callable[[], Lock] | None = None,
    ) -> None:
        self.last_results: dict[str, Any] = {}
        own_seeds = (seeds or SeedTree.from_seed(config.seed)).child("learner", 0)
        self.make_learners(config, module_spec, own_seeds, executor, used)

    def make_learners(
        self,
        config: GroupSettings,
        module_spec: MultiRLModuleSpec | RLModuleSpec | None,
        seeds: SeedTree,
        executor: Executor | None,
        used: Callable[[], Lock] | None,
    ) -> None:
        """Make the learners; called once, with the constructor's arguments and the learners' node of the seed tree."""
        if executor is not None:
            raise ConfigError(
                f"LearnerGroup(executor={type(executor).__name__}) with num_learners=0: that learner is in this "
                "process; leave executor out, or use num_learners=1"
            )
        self._learner = make_learner(config, module_spec, seeds)

    # -- the learners -------------------------------------------------------------------------------------------------

    def call_first(self, method: str | Callable[..., Any], /, *args: object, **kwargs: object) -> Any:
        """What a method of the first learner gives, or a function of it: of what is the same on all."""
        function = getattr(self._learner, method) if isinstance(method, str) else method
        return function(*args, **kwargs) if isinstance(method, str) else function(self._learner, *args, **kwargs)

    def call_all(self, method: str | Callable[..., Any], /, *args: object, **kwargs: object) -> list[Any]:
        """What a method of every learner gives, or a function of it, each with the same arguments; in their order."""
        return [self.call_first(method, *args, **kwargs)]

    def foreach_learner(self, func: Callable[[Learner], Any], *, return_exceptions: bool = False) -> list[Any]:
        """``func(learner)`` for each learner, where it is; results in the learners' order.

        Args:
            func: is sent to learners that are elsewhere, with all it refers to.
            return_exceptions: put what it raises in place of its result; else the first is raised when all are done.
        """
        try:
            return self.call_all(func)
        except Exception as error:
            if not return_exceptions:
                raise
            return [error]

    @property
    def config(self) -> Any:
        """The learners' config, which knows the modules that were added and removed."""
        return self._learner.config

    @property
    def is_local(self) -> bool:
        """Whether the learner is in this process."""
        return True

    @property
    def is_remote(self) -> bool:
        """Whether learners are elsewhere."""
        return not self.is_local

    def __len__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        return True

    @property
    def learner(self) -> Learner:
        """The local learner.

        Raises:
            RLKitError: learners are elsewhere.
        """
        return self._learner

    @property
    def module_ids(self) -> list[str]:
        """Ids of the learners' modules."""
        return list(self.module_set)

    @property
    def weights_seq_no(self) -> int:
        """The number of updates so far."""
        return self.call_first(lambda learner: learner.weights_seq_no)  # type: ignore[no-any-return]

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
            ConfigError: ``async_update=True``, RLlib's way to ask for what :meth:`async_update` does.
            ActorError: a learner died once too often (``fault_tolerance(max_num_learner_restarts=...)``).
            Exception: what one learner's update raised, in its own type.
        """
        refuse_async(kwargs)
        result = self.record(self._learner.update(batch=batch, rollouts=rollouts, episodes=episodes, **kwargs))
        return {**result, STATE_AFTER_UPDATE: self.get_weights()} if return_state else result

    def record(self, result: dict[str, Any]) -> dict[str, Any]:
        """Keep what an update returned as :attr:`last_results` where it returned something, and return it."""
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
        raise ValueError("async_update: learners in this process update at once; use update()")

    def reduce_metrics(self) -> dict[str, Any]:
        """:meth:`Learner.reduce_metrics` of all learners, put together as :meth:`update` does."""
        return self.record(self._learner.reduce_metrics())

    def see_rollouts(self, rollouts: Mapping[str, Rollout]) -> dict[str, Rollout]:
        """:meth:`Learner.see_rollouts` of the first learner: what an algorithm asks for before it keeps rollouts."""
        return self._learner.see_rollouts(rollouts)

    def take_rows(self) -> dict[str, dict[str, Any]]:
        """:meth:`Learner.take_rows` of all learners, ``{module id: {name: [rows, ...]}}``, in the order of the data."""
        return self._learner.take_rows()

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
        return self.call_first(lambda learner: learner.module_set)  # type: ignore[no-any-return]

    def set_modules(self, module_set: ModuleSet) -> MultiRLModuleSpec:
        """:meth:`Learner.set_modules` on every learner; the spec of all modules."""
        self.call_all("set_modules", module_set)
        return self.call_first(lambda learner: MultiRLModuleSpec.from_module(learner.module))  # type: ignore[no-any-return]

    def get_weights(self, module_ids: Collection[str] | None = None, *, inference_only: bool = True) -> Weights:
        """Weights of the modules (or of those given) with their version."""
        ids = None if module_ids is None else list(module_ids)
        return self.call_first("get_weights", ids, inference_only=inference_only)  # type: ignore[no-any-return]

    def set_weights(self, weights: Weights | Mapping[str, Any]) -> None:
        """Let every learner take over full weights (``inference_only=False``) of some modules, or all."""
        self.call_all("set_weights", weights)

    def get_stats(self) -> dict[str, Any]:
        """What is under way, and what was lost: updates that wait or run, steps that were dropped, restarts."""
        return {
            "learner_group_ts_dropped_lifetime": 0,
            "actor_manager_num_outstanding_async_reqs": 0,
            "num_learner_restarts": 0,
        }

    def get_fault_metrics(self) -> dict[str, int]:
        """Result keys of ``fault_tolerance``: restarts of learners so far; none where there is one, in this process."""
        return {}

    def checkpoint_written(self, path: str) -> None:
        """A checkpoint of the whole run was written; should all learners be lost, the error names the last one."""

    # -- state --------------------------------------------------------------------------------------------------------

    @classmethod
    def stored_class(cls) -> type:
        """This class, whatever the number of learners: a checkpoint of some can be continued with any other number."""
        return LearnerGroup

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """The learner, under ``learner``; of several, the first, which stands for all."""
        return [(COMPONENT_LEARNER, self._learner)]

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Config and module spec."""
        _, kwargs = self.call_first("get_ctor_args_and_kwargs")
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
        return self.get_component_states(components, not_components, **kwargs)

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Continue from :meth:`get_state`, of a group of as many learners or of another number."""
        if COMPONENT_LEARNER in state:
            self._learner.set_state(state[COMPONENT_LEARNER], strict=strict)
        if state.get(OTHERS):
            add_counts(self._learner, state[OTHERS])

    def shutdown(self) -> None:
        """End the learners; a second call does nothing."""
        self._learner.shutdown()
