"""What a learner gives and takes as its state, other modules than it has included."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from rlkit_core.checkpoint import from_jsonable, to_jsonable
from rlkit_core.errors import CheckpointError, RLKitError
from rlkit_core.learner.membership import Members
from rlkit_core.rl_module import MultiRLModule, MultiRLModuleSpec, RLModuleSpec
from rlkit_core.seeding import TorchRNG

Filter = str | Collection[str] | None


class SavedLearner(Protocol):
    """A learner whose set of modules is saved and restored.

    Attributes:
        config: knows the modules' overrides and which are trained.
        rng: draws the weights of modules that are built anew.
        members: its modules.
    """

    config: Any
    rng: TorchRNG
    members: Members

    @property
    def module(self) -> MultiRLModule:
        """The modules, by id."""
        raise NotImplementedError

    def add_module(
        self, *, module_id: str, module_spec: RLModuleSpec | None, config_overrides: Mapping[str, Any] | None
    ) -> MultiRLModuleSpec:
        """Add a module."""
        raise NotImplementedError

    def remove_module(self, module_id: str) -> MultiRLModuleSpec:
        """Remove a module."""
        raise NotImplementedError


def members_as_data(learner: SavedLearner) -> dict[str, Any]:
    """Which modules there are and which are trained, as JSON data: for each module what it takes to add it again."""
    trained = learner.config.policies_to_train
    return {
        "should_module_be_updated": None if callable(trained) else trained,
        "modules": {mid: _member_as_data(learner, mid) for mid in learner.module},
    }


def match_members(learner: SavedLearner, state: Mapping[str, Any]) -> None:
    """Add, remove and rebuild modules until they are those that :func:`members_as_data` gave.

    Raises:
        CheckpointError: one that is not here was saved without its spec.
    """
    wanted: Mapping[str, Any] = state["modules"]
    to_train = state.get("should_module_be_updated")
    for module_id, entry in wanted.items():
        data = entry["spec"]
        if module_id not in learner.module:
            _add_as_saved(learner, module_id, entry)
        elif data is not None and data != _spec_as_data(learner, module_id):
            saved = RLModuleSpec.from_dict(data)
            if _only_settings_differ(learner, module_id, saved):
                warnings.warn(
                    f"module {module_id!r} was built differently from the saved one, and is built anew as that "
                    f"one was: {saved!r}",
                    UserWarning,
                    stacklevel=4,
                )
                learner.remove_module(module_id)
                _add_as_saved(learner, module_id, entry)
    for module_id in [mid for mid in learner.module if mid not in wanted]:
        learner.remove_module(module_id)
    if to_train is not None and list(to_train) != learner.config.policies_to_train:
        config = learner.config.copy(copy_frozen=False)
        config.multi_agent(policies_to_train=list(to_train))
        config.freeze()
        learner.config = config
        learner.members.changed()


def set_module_states(module: MultiRLModule, states: Mapping[str, Any], *, strict: bool) -> None:
    """Give members their states; a state that has only some of the members leaves the others alone.

    Raises:
        CheckpointError: a member is not here, and ``strict``.
        StateError: names or shapes differ.
    """
    partial = [mid for mid in module if mid not in states]
    if partial and not any(key.startswith("__") for key in states):
        unknown = [mid for mid in states if mid not in module]
        if unknown and strict:
            raise CheckpointError(f"state of unknown modules {unknown}; there are {list(module.keys())}")
        for module_id in states:
            if module_id in module:
                module[module_id].set_state(states[module_id], **({} if strict else {"strict": False}))
        return
    module.set_state(states, strict=strict)


def _spec_as_data(learner: SavedLearner, module_id: str) -> dict[str, Any] | None:
    """The spec of a member as JSON data; None where that cannot be (a live network in its settings)."""
    try:
        return RLModuleSpec.from_module(learner.module[module_id]).to_dict()
    except (RLKitError, TypeError):
        return None


def _member_as_data(learner: SavedLearner, module_id: str) -> dict[str, Any]:
    """What it takes to add a member again: its spec, and the settings that differ for it."""
    overrides = learner.config.algorithm_config_overrides_per_module.get(module_id)
    try:
        settings = to_jsonable(overrides) if overrides else None
    except RLKitError:
        settings = None
    return {"spec": _spec_as_data(learner, module_id), "overrides": settings}


def _add_as_saved(learner: SavedLearner, module_id: str, entry: Mapping[str, Any]) -> None:
    if entry["spec"] is None:
        raise CheckpointError(
            f"the state has module {module_id!r}, which is not here and whose spec could not be saved; add it "
            "first: learner.add_module(...)"
        )
    learner.add_module(
        module_id=module_id,
        module_spec=RLModuleSpec.from_dict(entry["spec"]),
        config_overrides=from_jsonable(entry["overrides"]) if entry["overrides"] else None,
    )


def _only_settings_differ(learner: SavedLearner, module_id: str, saved: RLModuleSpec) -> bool:
    """Whether ``saved`` builds the same class for the same spaces, but with other names or shapes."""
    present: Any = learner.module[module_id].unwrapped()
    if (saved.module_class, saved.observation_space, saved.action_space) != (
        type(present),
        present.observation_space,
        present.action_space,
    ):
        return False
    with learner.rng.scope():
        built = saved.build()
    return _shapes(present, present) != _shapes(built, present)


def _shapes(module: Any, without_targets_of: Any) -> dict[str, tuple[int, ...]]:
    from rlkit_core.rl_module.apis import TargetNetworkAPI
    from rlkit_core.rl_module.apis.target_network import target_names

    targets = set(target_names(without_targets_of)) if isinstance(without_targets_of, TargetNetworkAPI) else set()
    if not hasattr(module, "state_dict"):
        return {}
    return {name: tuple(t.shape) for name, t in module.state_dict().items() if name not in targets}
