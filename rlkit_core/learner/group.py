"""The LearnerGroup: one learner here, or several behind an executor; callers do not see which."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from rlkit_core.checkpoint import Checkpointable
from rlkit_core.columns import COMPONENT_LEARNER
from rlkit_core.errors import ConfigError
from rlkit_core.execution import ActorHandle, Executor, LocalExecutor
from rlkit_core.learner.learner import Learner
from rlkit_core.learner.weights import Weights
from rlkit_core.rl_module import MultiRLModuleSpec, RLModuleSpec
from rlkit_core.seeding import SeedTree


def _make_learner(config: Any, module_spec: Any, seeds: SeedTree) -> Learner:
    learner: Learner = config.learner_class(config=config, module_spec=module_spec, seeds=seeds)
    learner.build()
    return learner


class LearnerGroup(Checkpointable):
    """Learners that are updated together.

    Args:
        config: the algorithm's config.
        module_spec: spec of the modules to train; the config's unless given.
        executor: where learners run; this process unless given.
        seeds: node of the seed tree.

    Raises:
        ConfigError: ``num_learners`` is more than the executor here can serve.
    """

    def __init__(
        self,
        *,
        config: Any,
        module_spec: Any = None,
        executor: Executor | None = None,
        seeds: SeedTree | None = None,
    ) -> None:
        if config.num_learners:
            raise ConfigError(
                f"num_learners={config.num_learners}: this version of rlkit has local learners only; use 0"
            )
        self._module_spec = module_spec
        self._executor = executor or LocalExecutor()
        seeds = seeds or SeedTree.from_seed(config.seed)
        self._actors: list[ActorHandle] = [
            self._executor.spawn(_make_learner, config, module_spec, seeds.child("learner", 0))
        ]

    @property
    def config(self) -> Any:
        """The learners' config, which knows the modules that were added and removed."""
        return self.learner.config

    @property
    def is_local(self) -> bool:
        """Whether the learner is in this process."""
        return bool(self.config.num_learners == 0)

    @property
    def is_remote(self) -> bool:
        """Whether learners are elsewhere."""
        return not self.is_local

    def __len__(self) -> int:
        return len(self._actors)

    def __bool__(self) -> bool:
        return True

    @property
    def learner(self) -> Learner:
        """The local learner."""
        learner: Learner = self._actors[0].instance  # type: ignore[attr-defined]
        return learner

    def update(self, batch: Any = None, **kwargs: Any) -> dict[str, Any]:
        """:meth:`Learner.update` on every learner; the results of the first."""
        return self._call("update", batch, **kwargs)  # type: ignore[no-any-return]

    def update_from_batch(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        """:meth:`update` with ready columns."""
        return self.update(batch=batch, **kwargs)

    def update_from_episodes(self, episodes: Any, **kwargs: Any) -> dict[str, Any]:
        """:meth:`update` with episodes."""
        return self.update(episodes=episodes, **kwargs)

    def async_update(self, *args: Any, **kwargs: Any) -> Any:
        """Updates that are not waited for.

        Raises:
            ValueError: always, for learners in this process.
        """
        raise ValueError("async_update: learners in this process update at once; use update()")

    def add_module(
        self,
        *,
        module_id: str,
        module_spec: RLModuleSpec,
        config_overrides: Mapping[str, Any] | None = None,
        new_should_module_be_updated: Any = None,
    ) -> MultiRLModuleSpec:
        """:meth:`Learner.add_module` on every learner; the spec of all modules."""
        return self._call(  # type: ignore[no-any-return]
            "add_module",
            module_id=module_id,
            module_spec=module_spec,
            config_overrides=config_overrides,
            new_should_module_be_updated=new_should_module_be_updated,
        )

    def remove_module(self, module_id: str, *, new_should_module_be_updated: Any = None) -> MultiRLModuleSpec:
        """:meth:`Learner.remove_module` on every learner; the spec of the modules left."""
        return self._call(  # type: ignore[no-any-return]
            "remove_module", module_id, new_should_module_be_updated=new_should_module_be_updated
        )

    def foreach_learner(self, func: Callable[[Learner], Any]) -> list[Any]:
        """``func(learner)`` for each learner."""
        return [func(self.learner)]

    def get_weights(
        self, module_ids: Collection[str] | None = None, *, inference_only: bool = True
    ) -> Weights:
        """Weights of the modules (or of those given) with their version."""
        return self._call("get_weights", module_ids, inference_only=inference_only)  # type: ignore[no-any-return]

    def set_weights(self, weights: Any) -> None:
        """Let every learner take over full weights (``inference_only=False``) of some modules, or all."""
        self._call("set_weights", weights)

    def get_stats(self) -> dict[str, Any]:
        """What is under way: nothing, for learners in this process."""
        return {"learner_group_ts_dropped_lifetime": 0, "actor_manager_num_outstanding_async_reqs": 0}

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        futures = [actor.call(method, *args, **kwargs) for actor in self._actors]
        results = [future.result() for future in futures]
        return results[0]

    # -- state --------------------------------------------------------------------------------------------------------

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """The learner, under ``learner``."""
        return [(COMPONENT_LEARNER, self.learner)]

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Config and module spec."""
        _, kwargs = self.learner.get_ctor_args_and_kwargs()
        return (), {"config": self.config, "module_spec": kwargs["module_spec"]}

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """``{"learner": state of the learner}``."""
        if not self._check_component(COMPONENT_LEARNER, components, not_components):
            return {}
        return {
            COMPONENT_LEARNER: self.learner.get_state(
                self._get_subcomponents(COMPONENT_LEARNER, components),
                not_components=self._get_subcomponents(COMPONENT_LEARNER, not_components),
                **kwargs,
            )
        }

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Continue from :meth:`get_state`."""
        if COMPONENT_LEARNER in state:
            self._call("set_state", state[COMPONENT_LEARNER], strict=strict)

    def shutdown(self) -> None:
        """Shut the learners down."""
        for actor in self._actors:
            actor.call("shutdown").result()
        self._executor.stop()
