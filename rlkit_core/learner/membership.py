"""The half of a Learner that knows its modules: which there are, which are trained, and changes at run time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from rlkit_core.columns import ALL_MODULES
from rlkit_core.errors import RLKitError
from rlkit_core.learner.drivers import DriverSet
from rlkit_core.learner.observation_statistics import ObservationStatistics
from rlkit_core.learner.optim.fused_adam import without_compiler_import
from rlkit_core.learner.optim.gradients import GradientSteps
from rlkit_core.rl_module import MultiRLModule, MultiRLModuleSpec, RLModule, RLModuleSpec
from rlkit_core.rl_module.apis import check_required_apis
from rlkit_core.rl_module.multi import validate_module_id
from rlkit_core.seeding import TorchRNG


class ModuleChanges(GradientSteps):
    """Modules of a learner and what belongs to each. Every method is an override point."""

    device: Any
    _rng: TorchRNG
    _drivers: DriverSet
    _observation_statistics: ObservationStatistics
    _module: MultiRLModule | None
    _trained: tuple[str, ...] | None

    @property
    def module(self) -> MultiRLModule:
        """The modules that are trained (and those that only act), by id.

        Raises:
            RLKitError: :meth:`build` was not called.
        """
        self._check_is_built()
        assert self._module is not None
        return self._module

    def _check_is_built(self) -> None:
        if self._module is None:
            raise RLKitError(f"{type(self).__name__} is not built yet; call its build() first")

    # -- what a module must be ----------------------------------------------------------------------------------------

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """API mixins that every module that this learner trains must implement."""
        return []

    def rl_module_is_compatible(self, module: RLModule) -> bool:
        """Whether this learner can train ``module``: a torch module with the required APIs."""
        required = tuple(self.rl_module_required_apis())
        return isinstance(module, nn.Module) and all(isinstance(module.unwrapped(), api) for api in required)

    def should_module_be_updated(self, module_id: str, batch: Any = None) -> bool:
        """Whether ``policies_to_train`` names the module (None: all are trained), or says so of it and its batch."""
        to_train = self.config.policies_to_train
        if to_train is None:
            return True
        return bool(to_train(module_id, batch)) if callable(to_train) else module_id in to_train

    @property
    def trained_modules(self) -> tuple[str, ...]:
        """Ids of the modules that the latest update (or the next, before the first) steps if they have rows."""
        return tuple(mid for mid in self._trained or () if mid in self._steppable)

    def _is_updated(self, module_id: str, batch: Any = None) -> bool:
        """Whether an update steps anything of the module."""
        return module_id in self._steppable and self.should_module_be_updated(module_id, batch)

    def _check_module(self, module_id: str, module: RLModule) -> None:
        """Refuse a module that is to be trained and lacks an API. One without parameters only acts."""
        if self.should_module_be_updated(module_id) and self.get_parameters(module):
            check_required_apis(module.unwrapped(), module_id, self.rl_module_required_apis())

    # -- hooks --------------------------------------------------------------------------------------------------------

    def on_module_added(self, module_id: str) -> None:
        """Called for every module that joins, by :meth:`build` and :meth:`add_module`, before it has optimizers.

        The place for what a learner keeps per module: schedules, coefficients, statistics. Call super().
        """

    def on_module_removed(self, module_id: str) -> None:
        """Called for every module that leaves; drop what :meth:`on_module_added` made. Call super()."""

    # -- changes at run time ------------------------------------------------------------------------------------------

    def add_module(
        self,
        *,
        module_id: str,
        module_spec: RLModuleSpec | None = None,
        module: RLModule | None = None,
        config_overrides: Mapping[str, Any] | None = None,
        new_should_module_be_updated: Any = None,
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
        self._check_is_built()
        validate_module_id(module_id, error=True)
        if module_id in self.module:
            raise ValueError(f"add_module: there is a module {module_id!r} already; remove it first")
        if (module is None) == (module_spec is None):
            raise ValueError("add_module: give exactly one of module_spec= and module=")
        before = self.config
        spec = RLModuleSpec.from_module(module) if module is not None else module_spec
        assert spec is not None
        changes = {"overrides": config_overrides, "to_train": new_should_module_be_updated}
        config = config_with_module(before, self.module, module_id, spec, **changes)
        with self._rng.scope():
            if module is None:
                spec = self._complete_spec(config, module_id, spec)
                config = config_with_module(before, self.module, module_id, spec, **changes)
                module = spec.build()
            self.config = config
            try:
                self._check_module(module_id, module)
                if isinstance(module, nn.Module):
                    module.to(self.device)
                self.module.add_module(module_id, module)
                self._drivers.add(module_id, module.unwrapped())
                self.on_module_added(module_id)
                if self.rl_module_is_compatible(module):
                    with without_compiler_import():
                        self.configure_optimizers_for_module(module_id, config.get_config_for_module(module_id))
            except BaseException:
                self._forget(module_id)
                self.config = before
                raise
        self._modules_changed()
        return MultiRLModuleSpec.from_module(self.module)

    def remove_module(self, module_id: str, *, new_should_module_be_updated: Any = None) -> MultiRLModuleSpec:
        """Remove a module and all that belongs to it. Parameters that others share stay, with those.

        Args:
            module_id: its id.
            new_should_module_be_updated: takes the place of ``policies_to_train``; unless given, lists lose the id.

        Returns:
            The spec of the modules that are left.

        Raises:
            KeyError: there is no such module.
        """
        self.module[module_id]
        self.config = config_without_module(self.config, self.module, module_id, to_train=new_should_module_be_updated)
        self._forget(module_id)
        self._modules_changed()
        return MultiRLModuleSpec.from_module(self.module)

    def _forget(self, module_id: str) -> None:
        if module_id not in self.module:
            return
        self.module.remove_module(module_id)
        self._drivers.remove(module_id)
        self.on_module_removed(module_id)
        self.metrics.drop(module_id)
        left = {id(p) for p in self.module.parameters()}
        for name, registered in list(self._optimizers.items()):
            if registered.module_id == module_id:
                del self._optimizers[name]
                shared = [p for p in registered.parameters if id(p) in left]
                self._hand_over(shared, registered.release(shared) if shared else {}, type(registered.optimizer))
            elif registered.module_id == ALL_MODULES:
                was = registered.module_parameters  # a learner's own variables were no module's, and stay
                gone = [p for p in registered.parameters if id(p) in was and id(p) not in left]
                if gone:
                    registered.release(gone)
                if not registered.parameters:
                    del self._optimizers[name]

    def _hand_over(self, parameters: list[Any], states: Mapping[Any, Any], kind: type) -> None:
        """Give shared parameters of an optimizer that goes to that of the next trained module that holds them."""
        for parameter in parameters:
            heirs = [mid for mid, held in self._holders().items() if id(parameter) in held]
            heirs.sort(key=lambda mid: not self.should_module_be_updated(mid))
            for heir in heirs:
                registered = next(iter(self._registered_by(heir)), None)
                if registered is not None:
                    fits = type(registered.optimizer) is kind
                    registered.adopt(parameter, states.get(parameter, {}) if fits else {})
                    break
            else:
                if heirs:
                    with without_compiler_import():
                        self.configure_optimizers_for_module(heirs[0])

    def _holders(self) -> dict[str, set[int]]:
        """Module id to the identities of its parameters."""
        return {
            mid: {id(p) for p in module.parameters()} if isinstance(module, nn.Module) else set()
            for mid, module in self.module.items()
        }

    # -- bookkeeping --------------------------------------------------------------------------------------------------

    def _modules_changed(self) -> None:
        """Bring everything that is derived from the set of modules and optimizers up to date."""
        self._observation_statistics.modules_changed()
        holders = self._holders()
        for registered in self._optimizers.values():
            of = [frozenset(mid for mid, held in holders.items() if id(p) in held) for p in registered.parameters]
            registered.holders = frozenset(of)
            registered.module_parameters = {id(p) for p, mids in zip(registered.parameters, of, strict=True) if mids}
            registered.flatten()
        stepped = {id(p) for r in self._optimizers.values() for p in r.parameters}
        self._steppable = {mid for mid, held in holders.items() if held & stepped}
        self._trained = None
        self._set_trained(tuple(mid for mid in self.module if self.should_module_be_updated(mid)))
        self._count_parameters()

    def _set_trained(self, trained: tuple[str, ...]) -> None:
        """Let gradients be those of these modules (and of what belongs to no module)."""
        if trained == self._trained:
            return
        self._trained = trained
        holders = self._holders()
        frozen: set[int] = set().union(*(held for mid, held in holders.items() if mid not in trained))
        frozen -= set().union(*(held for mid, held in holders.items() if mid in trained))
        stepped = {id(p): p for r in self._optimizers.values() for p in r.parameters if p.requires_grad}
        order = [p for _, _, p in self.module.unique_parameters() if id(p) in stepped]
        known = {id(p) for p in order}
        order += [p for key, p in stepped.items() if key not in known]
        self._parameters = [p for p in order if id(p) not in frozen]

    def _count_parameters(self) -> None:
        trainable = sum(p.numel() for p in self._parameters)
        total = sum(p.numel() for _, _, p in self.module.unique_parameters())
        self._parameter_counts = {
            "num_trainable_parameters": trainable,
            "num_non_trainable_parameters": max(0, total - trainable),
        }

    def _complete_spec(self, config: Any, module_id: str, spec: RLModuleSpec) -> RLModuleSpec:
        """The spec with what the algorithm and the config add."""
        alone = config.copy(copy_frozen=False)
        alone.multi_agent(policies=[module_id])
        alone.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={module_id: spec.copy()}))
        complete: RLModuleSpec = alone.get_multi_rl_module_spec(inference_only=False)[module_id]
        return complete


def config_with_module(
    config: Any,
    members: Any,
    module_id: str,
    spec: RLModuleSpec,
    *,
    overrides: Mapping[str, Any] | None = None,
    to_train: Any = None,
) -> Any:
    """A frozen copy of a config that knows one more module.

    Args:
        config: the config so far.
        members: the modules that it knows already, by id.
        module_id: the new one's id.
        spec: what the new one is built from.
        overrides: settings that differ for it.
        to_train: the new ``policies_to_train``; None leaves it.
    """
    config = config.copy(copy_frozen=False)
    specs = {**_specs_by_id(config, members), module_id: spec.copy()}
    config.multi_agent(policies=list(specs))
    config.rl_module(rl_module_spec=_multi_spec(config, specs))
    if overrides:
        per_module = {**config.algorithm_config_overrides_per_module, module_id: dict(overrides)}
        config.rl_module(algorithm_config_overrides_per_module=per_module)
    if to_train is not None:
        config.multi_agent(policies_to_train=to_train)
    config.freeze()
    return config


def config_without_module(config: Any, members: Any, module_id: str, *, to_train: Any = None) -> Any:
    """A frozen copy of a config that has forgotten a module; see :func:`config_with_module`."""
    config = config.copy(copy_frozen=False)
    specs = _specs_by_id(config, members)
    specs.pop(module_id, None)
    per_module = dict(config.algorithm_config_overrides_per_module)
    per_module.pop(module_id, None)
    config.multi_agent(policies=list(specs) or None)
    config.rl_module(rl_module_spec=_multi_spec(config, specs), algorithm_config_overrides_per_module=per_module)
    trained = config.policies_to_train
    if to_train is None and trained is not None and not callable(trained):
        to_train = [mid for mid in trained if mid != module_id]
    if to_train is not None:
        config.multi_agent(policies_to_train=to_train)
    config.freeze()
    return config


def _specs_by_id(config: Any, members: Any) -> dict[str, RLModuleSpec]:
    """The config's own specs, one for each module there is."""
    given = config.stored("rl_module_spec")
    specs = getattr(given, "rl_module_specs", given)
    found: dict[str, RLModuleSpec] = {}
    for module_id in members:
        one = specs.get(module_id) if isinstance(specs, dict) else specs
        if one is None and isinstance(specs, dict):
            member = members[module_id]
            one = member if isinstance(member, RLModuleSpec) else RLModuleSpec.from_module(member)
        found[module_id] = one.copy() if one is not None else RLModuleSpec()
    return found


def _multi_spec(config: Any, specs: Mapping[str, RLModuleSpec]) -> MultiRLModuleSpec:
    given = config.stored("rl_module_spec")
    multi: MultiRLModuleSpec = given.copy() if isinstance(given, MultiRLModuleSpec) else MultiRLModuleSpec()
    multi.rl_module_specs = dict(specs)
    return multi
