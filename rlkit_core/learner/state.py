"""The half of a Learner that gives and takes its state, other modules than here included."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

from rlkit_core.checkpoint import Checkpointable, from_jsonable, to_jsonable
from rlkit_core.columns import COMPONENT_METRICS_LOGGER, COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE
from rlkit_core.errors import CheckpointError, RLKitError
from rlkit_core.learner.membership import ModuleChanges
from rlkit_core.rl_module import MultiRLModuleSpec, RLModuleSpec
from rlkit_core.rl_module.weights import Weights

Filter = str | Collection[str] | None


class LearnerState(ModuleChanges, Checkpointable):
    """Weights, state and checkpoints of a learner."""

    config: Any

    def build(self) -> None:
        """Make the modules and what belongs to them."""
        raise NotImplementedError

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
        self._set_module_states(state, strict=True)

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """The module, under ``rl_module``."""
        return [(COMPONENT_RL_MODULE, self.module)]

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Config and module spec."""
        return (), {"config": self.config, "module_spec": MultiRLModuleSpec.from_module(self.module)}

    def get_state(
        self,
        components: Filter = None,
        *,
        not_components: Filter = None,
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
            The module's part under ``rl_module``, the optimizers' under ``optimizer``. ``weights_seq_no`` is always
            there; random state, drivers' state and what there is to know about the modules, unless ``components`` is
            given.
        """
        self._check_is_built()

        def wanted(name: str) -> bool:
            return self._check_component(name, components, not_components)

        state: dict[str, Any] = {"weights_seq_no": self.weights_seq_no}
        if components is None:
            trained = self.config.policies_to_train
            state["should_module_be_updated"] = None if callable(trained) else trained
            state["modules"] = {mid: self._module_as_data(mid) for mid in self.module}
            state["rng"] = self._rng.get_state()
            if self._rng.get_gpu_state() is not None:
                state["rng_gpu"] = self._rng.get_gpu_state()
            state["drivers"] = self._drivers.get_state()
        if wanted(COMPONENT_OPTIMIZER):
            state[COMPONENT_OPTIMIZER] = self._get_optimizer_state()
        if wanted(COMPONENT_METRICS_LOGGER):
            state[COMPONENT_METRICS_LOGGER] = self.metrics.get_state()
        if wanted(COMPONENT_RL_MODULE):
            state[COMPONENT_RL_MODULE] = self.module.get_state(
                self._get_subcomponents(COMPONENT_RL_MODULE, components),
                not_components=self._get_subcomponents(COMPONENT_RL_MODULE, not_components),
                inference_only=inference_only,
            )
        return state

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Continue from :meth:`get_state`; parts that are absent are left as they are.

        A complete state also decides which modules there are: those that it has beside ours are added as they were,
        those that it lacks are removed, and one of the same class and spaces whose settings gave it other layers is
        built anew, with a warning.

        Raises:
            StateError: a member is of another class or for other spaces, and names or shapes differ.
        """
        self._check_is_built()
        if "modules" in state:
            self._match_modules(state["modules"], state.get("should_module_be_updated"))
        if COMPONENT_RL_MODULE in state:
            self._set_module_states(state[COMPONENT_RL_MODULE], strict=strict)
        if COMPONENT_OPTIMIZER in state:
            self._set_optimizer_state(state[COMPONENT_OPTIMIZER])
        if COMPONENT_METRICS_LOGGER in state:
            self.metrics.set_state(state[COMPONENT_METRICS_LOGGER])
        if "rng" in state:
            self._rng.set_state(state["rng"])
            self._rng.set_gpu_state(state.get("rng_gpu"))
        if "drivers" in state:
            self._drivers.set_state(state["drivers"])
        self.weights_seq_no = int(state.get("weights_seq_no", self.weights_seq_no))

    def restore_snapshot(self, snapshot: Any, *, strict: bool = True) -> None:
        """Bring the set of modules to that of a checkpoint, then restore all parts."""
        self.build()
        own = snapshot.state()
        if "modules" in own and COMPONENT_RL_MODULE in snapshot.components:
            self._match_modules(own["modules"], own.get("should_module_be_updated"))
        super().restore_snapshot(snapshot, strict=strict)

    def _set_module_states(self, states: Mapping[str, Any], *, strict: bool) -> None:
        """Give members their states; a state that has only some of the members leaves the others alone."""
        partial = [mid for mid in self.module if mid not in states]
        if partial and not any(key.startswith("__") for key in states):
            unknown = [mid for mid in states if mid not in self.module]
            if unknown and strict:
                raise CheckpointError(f"state of unknown modules {unknown}; there are {list(self.module.keys())}")
            for module_id in states:
                if module_id in self.module:
                    self.module[module_id].set_state(states[module_id], **({} if strict else {"strict": False}))
            return
        self.module.set_state(states, strict=strict)

    # -- which modules there are --------------------------------------------------------------------------------------

    def _spec_as_data(self, module_id: str) -> Any:
        """The spec of a member as JSON data; None where that cannot be (a live network in its settings)."""
        try:
            return RLModuleSpec.from_module(self.module[module_id]).to_dict()
        except (RLKitError, TypeError):
            return None

    def _match_modules(self, wanted: Mapping[str, Any], to_train: Any) -> None:
        """Add, remove and rebuild members until they are those of a state."""
        for module_id, entry in wanted.items():
            data = entry["spec"]
            if module_id not in self.module:
                self._add_as_saved(module_id, entry)
            elif data is not None and data != self._spec_as_data(module_id):
                saved = RLModuleSpec.from_dict(data)
                if self._only_settings_differ(module_id, saved):
                    warnings.warn(
                        f"module {module_id!r} was built differently from the saved one, and is built anew as that "
                        f"one was: {saved!r}",
                        UserWarning,
                        stacklevel=4,
                    )
                    self.remove_module(module_id)
                    self._add_as_saved(module_id, entry)
        for module_id in [mid for mid in self.module if mid not in wanted]:
            self.remove_module(module_id)
        if to_train is not None and list(to_train) != self.config.policies_to_train:
            config = self.config.copy(copy_frozen=False)
            config.multi_agent(policies_to_train=list(to_train))
            config.freeze()
            self.config = config
            self._modules_changed()

    def _only_settings_differ(self, module_id: str, saved: RLModuleSpec) -> bool:
        """Whether ``saved`` builds the same class for the same spaces, but with other names or shapes."""
        own: Any = self.module[module_id].unwrapped()
        if (saved.module_class, saved.observation_space, saved.action_space) != (
            type(own),
            own.observation_space,
            own.action_space,
        ):
            return False
        with self._rng.scope():
            built = saved.build()
        return _shapes(own, own) != _shapes(built, own)

    def _module_as_data(self, module_id: str) -> dict[str, Any]:
        """What it takes to add a member again: its spec, and the settings that differ for it."""
        overrides = self.config.algorithm_config_overrides_per_module.get(module_id)
        try:
            settings = to_jsonable(overrides) if overrides else None
        except RLKitError:
            settings = None
        return {"spec": self._spec_as_data(module_id), "overrides": settings}

    def _add_as_saved(self, module_id: str, entry: Mapping[str, Any]) -> None:
        if entry["spec"] is None:
            raise CheckpointError(
                f"the state has module {module_id!r}, which is not here and whose spec could not be saved; add it "
                "first: learner.add_module(...)"
            )
        overrides = from_jsonable(entry["overrides"]) if entry["overrides"] else None
        self.add_module(
            module_id=module_id,
            module_spec=RLModuleSpec.from_dict(entry["spec"]),
            config_overrides=overrides,
        )


def _shapes(module: Any, without_targets_of: Any) -> dict[str, tuple[int, ...]]:
    from rlkit_core.rl_module.apis import TargetNetworkAPI
    from rlkit_core.rl_module.apis.target_network import target_names

    targets = set(target_names(without_targets_of)) if isinstance(without_targets_of, TargetNetworkAPI) else set()
    if not hasattr(module, "state_dict"):
        return {}
    return {name: tuple(t.shape) for name, t in module.state_dict().items() if name not in targets}
