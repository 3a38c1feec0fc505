"""Which modules there are: one value that learners and runners are brought to."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from attrs import field, frozen

from rlkit_core.checkpoint import from_jsonable, to_jsonable
from rlkit_core.columns import DEFAULT_AGENT_ID
from rlkit_core.errors import CheckpointError, RLKitError
from rlkit_core.models.default_config import model_config_dict as plain_model_config
from rlkit_core.plugins.used.pinned import by_module
from rlkit_core.rl_module.agent_mapping import AgentEpisode, AgentID, ask
from rlkit_core.rl_module.apis import implements
from rlkit_core.rl_module.apis.target_network import TargetNetworkAPI, target_names
from rlkit_core.rl_module.base import RLModule
from rlkit_core.rl_module.members import validate_module_id
from rlkit_core.rl_module.multi import MultiRLModule
from rlkit_core.rl_module.spec import MultiRLModuleSpec, RLModuleSpec

if TYPE_CHECKING:
    import gymnasium as gym

ToTrain = Collection[str] | Callable[..., bool]
"""Ids of modules that are trained, or ``(module_id, batch) -> bool``."""
Spaces = dict[str, tuple["gym.Space[Any] | None", "gym.Space[Any] | None"]]
SpacePair = tuple["gym.Space[Any]", "gym.Space[Any]"]
ConfigT = TypeVar("ConfigT", bound="ModuleConfig")


class ModuleConfig(Protocol):
    """What a set of modules asks of an algorithm's config: settings about modules, and copies with other settings."""

    @property
    def policies_to_train(self) -> Any:
        """Which modules are trained; None is all."""

    @property
    def policy_mapping_fn(self) -> Callable[..., str]:
        """``(agent_id, episode, **kwargs) -> module id``."""

    @property
    def algorithm_config_overrides_per_module(self) -> Mapping[str, Mapping[str, Any]]:
        """Settings that differ for a module, by its id."""

    def stored(self, name: str) -> Any:
        """The stored value of a setting."""

    def copy(self: ConfigT, copy_frozen: bool | None = None) -> ConfigT:
        """A config with the same settings."""

    def change(self: ConfigT, settings: Mapping[str, Any]) -> ConfigT:
        """Set several settings by name."""

    def freeze(self) -> None:
        """Refuse changes from now on."""

    def without_callbacks(self: ConfigT) -> ConfigT:
        """The config as actors elsewhere get it."""

    def get_multi_rl_module_spec(
        self,
        *,
        env: object = None,
        spaces: Spaces | SpacePair | None = None,
        inference_only: bool | None = None,
    ) -> MultiRLModuleSpec:
        """The complete spec of all modules."""


def is_trained(config: ModuleConfig, module_id: str, batch: Mapping[str, Any] | None = None) -> bool:
    """Whether ``policies_to_train`` names the module (None: all are trained), or says so of it and its batch."""
    to_train = config.policies_to_train
    if to_train is None:
        return True
    return bool(to_train(module_id, batch)) if callable(to_train) else module_id in to_train


@frozen
class Difference:
    """What has to change in a MultiRLModule.

    Attributes:
        gone: ids of members that leave; those that are built anew are among them.
        new: what to build, by id.
    """

    gone: tuple[str, ...]
    new: dict[str, RLModuleSpec]

    @property
    def rebuilt(self) -> list[str]:
        """Ids of members that are built anew."""
        return [mid for mid in self.gone if mid in self.new]


@frozen(eq=False)
class ModuleSet:
    """The modules that there are: a value that is never changed; its verbs give new ones.

    Args:
        config: a frozen config that knows exactly these modules.
        specs: a complete spec (class, spaces, model config) for each module, in order.

    Attributes:
        acting_ids: of the modules that can act: those that do not live on learners only.
    """

    config: ModuleConfig
    specs: Mapping[str, RLModuleSpec]
    acting_ids: tuple[str, ...] = field(init=False)

    @acting_ids.default
    def _without_learner_only(self) -> tuple[str, ...]:
        return tuple(mid for mid, spec in self.specs.items() if not spec.learner_only)

    @classmethod
    def from_config(cls, config: ModuleConfig, spaces: Spaces | SpacePair | None = None) -> ModuleSet:
        """The modules of a config.

        Args:
            config: says which there are.
            spaces: observation and action space of all modules whose specs have none; or such pairs by module id.

        Raises:
            SpecError: the spaces of a module are unknown.
        """
        multi = config.get_multi_rl_module_spec(spaces=spaces, inference_only=False)
        assert isinstance(multi.rl_module_specs, dict)
        return cls(config, multi.rl_module_specs)

    @classmethod
    def of(cls, module: MultiRLModule, config: ModuleConfig) -> ModuleSet:
        """The members of a MultiRLModule, and the config that knows them."""
        specs = module.current_specs()
        for module_id, member in module.items():
            if not specs[module_id].is_of(member.unwrapped()):  # the MultiRLModule made it its own way
                specs[module_id] = RLModuleSpec.from_module(member)
        return cls(config, specs)

    def __contains__(self, module_id: object) -> bool:
        return module_id in self.specs

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    @property
    def spaces(self) -> Spaces:
        """``{module id: (observation space, action space)}``."""
        return {mid: (spec.observation_space, spec.action_space) for mid, spec in self.specs.items()}

    @property
    def spec(self) -> MultiRLModuleSpec:
        """The spec of all modules together; a copy."""
        given = self.config.stored("rl_module_spec")
        multi: MultiRLModuleSpec = given.copy() if isinstance(given, MultiRLModuleSpec) else MultiRLModuleSpec()
        multi.rl_module_specs = {mid: spec.copy() for mid, spec in self.specs.items()}
        return multi

    def is_trained(self, module_id: str, batch: Mapping[str, Any] | None = None) -> bool:
        """Whether the module is trained, by :func:`is_trained`."""
        return is_trained(self.config, module_id, batch)

    def module_of(self, agent_id: AgentID = DEFAULT_AGENT_ID, episode: AgentEpisode | None = None) -> str:
        """Id of the module that an agent is mapped to.

        Args:
            agent_id: the agent; the only one of a single-agent env unless given.
            episode: the episode that it is in; a stand-in with no id unless given.

        Raises:
            ConfigError: the mapping raised, no such module is here, or it lives on learners only.
        """
        return ask(self.config.policy_mapping_fn, agent_id, episode or AgentEpisode("", 0), self.acting_ids)

    # -- other sets ---------------------------------------------------------------------------------------------------

    def with_module(
        self,
        module_id: str,
        spec: RLModuleSpec | RLModule,
        *,
        overrides: Mapping[str, Any] | None = None,
        to_train: ToTrain | None = None,
        mapping_fn: Callable[..., str] | None = None,
        spaces: Spaces | None = None,
    ) -> ModuleSet:
        """One more module.

        Args:
            module_id: its id, a new one.
            spec: what it is built from; what it lacks is filled in from the algorithm, the config and its env. Or the
                module itself, which says it all.
            overrides: settings that differ for it; None leaves what the config has.
            to_train: the new ``policies_to_train``; None leaves it.
            mapping_fn: the new ``policy_mapping_fn``; None leaves it.
            spaces: for what its spec lacks: pairs by module id, and one for all under ``"__env__"``.

        Raises:
            ValueError: the id is malformed or taken.
            SpecError: its spaces are unknown.
        """
        validate_module_id(module_id, error=True)
        if module_id in self:
            raise ValueError(f"add_module: there is a module {module_id!r} already; remove it first")
        per_module = {**self._overrides_without(module_id), module_id: dict(overrides)} if overrides else None
        written = RLModuleSpec.from_module(spec) if isinstance(spec, RLModule) else spec
        draft = _changed(self.config, {**self.specs, module_id: written}, per_module, to_train, mapping_fn)
        if written is not spec:
            return draft
        known = {**(spaces or {}), **self.spaces}
        complete = draft.config.get_multi_rl_module_spec(spaces=known, inference_only=False)[module_id]
        return _changed(draft.config, {**self.specs, module_id: complete})

    def without(
        self, module_id: str, *, to_train: ToTrain | None = None, mapping_fn: Callable[..., str] | None = None
    ) -> ModuleSet:
        """One module less.

        Args:
            module_id: its id.
            to_train: the new ``policies_to_train``; unless given, lists lose the id.
            mapping_fn: the new ``policy_mapping_fn``; None leaves it.

        Raises:
            KeyError: there is no such module.
        """
        if module_id not in self:
            raise KeyError(f"no module {module_id!r}; there are {', '.join(map(repr, self.specs)) or 'none'}")
        before = self.config.policies_to_train
        if to_train is None and before is not None and not callable(before):
            to_train = [mid for mid in before if mid != module_id]
        rest = {mid: spec for mid, spec in self.specs.items() if mid != module_id}
        return _changed(self.config, rest, self._overrides_without(module_id), to_train, mapping_fn)

    def with_settings(
        self, *, to_train: ToTrain | None = None, mapping_fn: Callable[..., str] | None = None
    ) -> ModuleSet:
        """The same modules with another ``policies_to_train`` and ``policy_mapping_fn``; None leaves one as it is."""
        return _changed(self.config, self.specs, None, to_train, mapping_fn)

    def following(self, other: ModuleSet, *, used: Collection[str]) -> ModuleSet:
        """The modules of ``other`` with the rest of this one's config; this very set where it has them already.

        Args:
            other: the set to follow.
            used: ids of modules that agents are mapped to; those of them that are here alone stay.
        """
        result = self
        for module_id in self.specs:
            if module_id not in other and module_id not in used:
                result = result.without(module_id)
        for module_id, spec in other.specs.items():
            if module_id not in result or not alike(result.specs[module_id], spec):
                overrides = other.config.algorithm_config_overrides_per_module.get(module_id, {})
                result = result.with_spec(module_id, spec, overrides)
        return self if result is self else result.with_settings(to_train=other.config.policies_to_train)

    def with_spec(self, module_id: str, spec: RLModuleSpec, overrides: Mapping[str, Any]) -> ModuleSet:
        """A module of this very spec, a new one or in place of the one here, with all settings that differ for it."""
        per_module = {**self._overrides_without(module_id), **({module_id: dict(overrides)} if overrides else {})}
        return _changed(self.config, {**self.specs, module_id: spec}, per_module)

    def _overrides_without(self, module_id: str) -> dict[str, dict[str, Any]]:
        before = self.config.algorithm_config_overrides_per_module
        return {mid: dict(changes) for mid, changes in before.items() if mid != module_id}

    def pinned_by(self, modules: Mapping[str, Any]) -> ModuleSet:
        """The same set, whose new modules are built of the components that ``modules`` are built of, by id."""
        specs = {
            mid: spec.with_pinned(modules[mid].pinned_choices) if mid in modules else spec
            for mid, spec in self.specs.items()
        }
        return ModuleSet(self.config, specs)

    # -- as data ------------------------------------------------------------------------------------------------------

    def to_data(self) -> dict[str, Any]:
        """``modules`` and ``should_module_be_updated``, as JSON values: what :meth:`as_saved` reads.

        A spec or settings that JSON cannot hold (a live network in a model config) are None, and so is a function that
        says which modules are trained.
        """
        to_train = self.config.policies_to_train
        overrides = self.config.algorithm_config_overrides_per_module
        return {
            "should_module_be_updated": None if to_train is None or callable(to_train) else list(to_train),
            "modules": {
                mid: {"spec": _spec_as_data(spec), "overrides": _as_data(overrides.get(mid))}
                for mid, spec in self.specs.items()
            },
        }

    def as_saved(self, data: Mapping[str, Any], members: MultiRLModule) -> ModuleSet:
        """The set that :meth:`to_data` described, with the rest of this one's config.

        A module of the same class and spaces as the saved one, whose settings gave it other parameters, is replaced by
        the saved one, with a warning.

        Args:
            data: what :meth:`to_data` gave.
            members: the modules of this set.

        Raises:
            CheckpointError: a module is not here, and its spec could not be saved.
        """
        result = self
        for module_id, entry in data["modules"].items():
            known = result.specs.get(module_id)
            if known is None and entry["spec"] is None:
                raise CheckpointError(
                    f"the state has module {module_id!r}, which is not here and whose spec could not be saved; add it "
                    "first: learner.add_module(...)"
                )
            if entry["spec"] is None or (known is not None and entry["spec"] == _spec_as_data(known)):
                continue
            saved = RLModuleSpec.from_dict(entry["spec"]).with_pinned(by_module().get(module_id))
            overrides = from_jsonable(entry["overrides"]) if entry["overrides"] else {}
            if known is not None:
                if not _has_other_parameters(saved, members[module_id]):
                    continue
                warnings.warn(
                    f"module {module_id!r} was built differently from the saved one, and is built anew as that one "
                    f"was: {saved!r}",
                    UserWarning,
                    stacklevel=5,
                )
            result = result.with_spec(module_id, saved, overrides)
        for module_id in [mid for mid in result.specs if mid not in data["modules"]]:
            result = result.without(module_id)
        to_train = data.get("should_module_be_updated")
        if to_train is not None and list(to_train) != result.config.policies_to_train:
            result = result.with_settings(to_train=list(to_train))
        return result

    # -- modules that follow ------------------------------------------------------------------------------------------

    def difference(self, module: MultiRLModule, *, inference_only: bool = False) -> Difference:
        """What ``module`` lacks, and what it has too much.

        Args:
            module: members whose specs differ from the set's are to be built anew.
            inference_only: without modules that live on learners only, and the others inference-only.
        """
        given, read_back = module.current_specs(), ModuleSet.of(module, self.config).specs
        new: dict[str, RLModuleSpec] = {}
        wanted = [mid for mid, spec in self.specs.items() if not (inference_only and spec.learner_only)]
        for module_id in wanted:
            spec: RLModuleSpec = self.specs[module_id].copy()
            if module_id in module and (alike(given[module_id], spec) or alike(read_back[module_id], spec)):
                continue
            spec.inference_only = inference_only or spec.inference_only
            new[module_id] = spec
        return Difference(tuple(mid for mid in module if mid not in wanted or mid in new), new)

    def bring(self, module: MultiRLModule, *, inference_only: bool = False) -> Difference:
        """Let ``module`` have exactly the modules of this set; new ones are built first, with fresh weights.

        Args:
            module: is changed in place; members that stay are left alone.
            inference_only: see :meth:`difference`.

        Returns:
            What went, and what came.

        Raises:
            SpecError: a module cannot be built; nothing has changed then.
        """
        difference = self.difference(module, inference_only=inference_only)
        built = {mid: module.build_member(mid, spec) for mid, spec in difference.new.items()}
        for module_id in difference.gone:
            module.remove_module(module_id)
        for module_id, member in built.items():
            module.add_module(module_id, member, spec=difference.new[module_id])
        return difference


def _changed(
    before: ModuleConfig,
    specs: Mapping[str, RLModuleSpec],
    overrides_per_module: Mapping[str, Any] | None = None,
    to_train: ToTrain | None = None,
    mapping_fn: Callable[..., str] | None = None,
) -> ModuleSet:
    """Modules with a config that knows them; None leaves a setting as it was."""
    config = before.copy(copy_frozen=False)
    modules = ModuleSet(config, specs)
    if overrides_per_module is None and before.algorithm_config_overrides_per_module:
        overrides_per_module = before.algorithm_config_overrides_per_module  # ``policies`` may hold some of them
    settings = {
        "rl_module_spec": modules.spec,
        "algorithm_config_overrides_per_module": overrides_per_module,
        "policies_to_train": to_train,
        "policy_mapping_fn": mapping_fn,
    }
    config.change({name: value for name, value in settings.items() if value is not None})
    config.change({"policies": list(specs) or None})
    config.freeze()
    return modules


def alike(one: RLModuleSpec, other: RLModuleSpec) -> bool:
    """Whether two specs build the same module, training-only parts and weights to load aside."""
    return _bare(one) == _bare(other)


def _bare(spec: RLModuleSpec) -> RLModuleSpec:
    bare: RLModuleSpec = spec.copy()
    bare.inference_only, bare.load_state_path = False, None
    return bare


def _as_data(value: object) -> Any:
    try:
        return to_jsonable(value) if value else None
    except RLKitError:
        return None


def _spec_as_data(spec: RLModuleSpec) -> Any:
    bare = _bare(spec)
    bare.model_config = plain_model_config(bare.model_config)
    try:
        return bare.to_dict()
    except (RLKitError, TypeError):
        return None


def _has_other_parameters(spec: RLModuleSpec, member: RLModule) -> bool:
    """Whether ``spec`` builds the member's class for the same spaces, but with other names or shapes."""
    own = member.unwrapped()
    spaces = own.observation_space, own.action_space
    if not spec.is_of(own) or (spec.observation_space, spec.action_space) != spaces:
        return False
    with torch.random.fork_rng(devices=[]):
        built = spec.build()
    return _shapes(built, own) != _shapes(own, own)


def _shapes(module: RLModule, without_targets_of: RLModule) -> dict[str, tuple[int, ...]]:
    """Shapes by name; target networks are left out, which a learner makes after the module."""
    targets = set(target_names(without_targets_of)) if implements(without_targets_of, TargetNetworkAPI) else set()
    if not isinstance(module, torch.nn.Module):
        return {}
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items() if name not in targets}
