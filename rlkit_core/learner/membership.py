"""The modules of a learner: which there are, which an update steps, and changes while training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

from rlkit_core.errors import RLKitError
from rlkit_core.learner.drivers import DriverSet
from rlkit_core.learner.metrics import Metrics
from rlkit_core.learner.observation_statistics import ObservationStatistics
from rlkit_core.learner.optim.fused_adam import without_compiler_import
from rlkit_core.learner.optim.optimizer_set import OptimizerSet
from rlkit_core.rl_module import MultiRLModule, MultiRLModuleSpec, RLModule, RLModuleSpec
from rlkit_core.rl_module.apis import check_required_apis
from rlkit_core.rl_module.multi import validate_module_id
from rlkit_core.seeding import TorchRNG


class MembersLearner(Protocol):
    """What the members ask of their learner: its parts, and override points of RLlib's names.

    Attributes:
        config: changes of the set of modules replace it.
        device: where modules are.
        rng: draws the weights of new modules.
        metrics: forget what leaves.
        optimizers: step the members' parameters.
        drivers: bound to the members.
        observation_statistics: look for normalisers anew.
    """

    config: Any
    device: torch.device
    rng: TorchRNG
    metrics: Metrics
    optimizers: OptimizerSet
    drivers: DriverSet
    observation_statistics: ObservationStatistics

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """API mixins that every trained module must implement."""
        raise NotImplementedError

    def rl_module_is_compatible(self, module: RLModule) -> bool:
        """Whether this learner can train a module."""
        raise NotImplementedError

    def should_module_be_updated(self, module_id: str, batch: Mapping[str, Any] | None = None) -> bool:
        """Whether a module is trained."""
        raise NotImplementedError

    def get_parameters(self, module: RLModule) -> list[nn.Parameter]:
        """Trainable parameters of a module."""
        raise NotImplementedError

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register the optimizers of a module."""
        raise NotImplementedError

    def on_module_added(self, module_id: str) -> None:
        """Called for every module that joins."""
        raise NotImplementedError

    def on_module_removed(self, module_id: str) -> None:
        """Called for every module that leaves."""
        raise NotImplementedError


class Members:
    """The modules of one learner, with what belongs to each.

    Args:
        learner: whose modules they are.

    Attributes:
        stepped: ids of the modules of which an optimizer steps something.
        parameter_counts: ``num_trainable_parameters`` and ``num_non_trainable_parameters``.
    """

    def __init__(self, learner: MembersLearner) -> None:
        self._learner = learner
        self._module: MultiRLModule | None = None
        self._trained: tuple[str, ...] | None = None
        self.stepped: set[str] = set()
        self.parameter_counts: dict[str, int] = {}

    @property
    def is_built(self) -> bool:
        """Whether there are modules."""
        return self._module is not None

    @property
    def module(self) -> MultiRLModule:
        """All of them, by id.

        Raises:
            RLKitError: the learner was not built.
        """
        if self._module is None:
            raise RLKitError(f"{type(self._learner).__name__} is not built yet; call its build() first")
        return self._module

    @property
    def trained(self) -> tuple[str, ...]:
        """Ids of the modules that are trained, whether they have anything to step or not."""
        return self._trained or ()

    def begin(self, module: MultiRLModule) -> None:
        """Take the first modules, on the learner's device, with drivers but without optimizers."""
        for module_id, member in module.items():
            self.check(module_id, member)
        module.to(self._learner.device)
        self._module = module
        for module_id, member in module.items():
            self._learner.drivers.add(module_id, member.unwrapped())
            self._learner.on_module_added(module_id)

    def check(self, module_id: str, module: RLModule) -> None:
        """Refuse a module that is to be trained and lacks an API. One without parameters only acts.

        Raises:
            ModuleAPIError: it lacks one.
        """
        learner = self._learner
        if learner.should_module_be_updated(module_id) and learner.get_parameters(module):
            check_required_apis(module.unwrapped(), module_id, learner.rl_module_required_apis())

    # -- changes at run time ------------------------------------------------------------------------------------------

    def add(
        self,
        module_id: str,
        *,
        module_spec: RLModuleSpec | None = None,
        module: RLModule | None = None,
        config_overrides: Mapping[str, Any] | None = None,
        to_train: Any = None,
    ) -> None:
        """Add a module with all that belongs to it; arguments and errors as of ``Learner.add_module``."""
        validate_module_id(module_id, error=True)
        if module_id in self.module:
            raise ValueError(f"add_module: there is a module {module_id!r} already; remove it first")
        if (module is None) == (module_spec is None):
            raise ValueError("add_module: give exactly one of module_spec= and module=")
        learner, before = self._learner, self._learner.config
        spec = RLModuleSpec.from_module(module) if module is not None else module_spec
        assert spec is not None

        def with_module(spec: RLModuleSpec) -> Any:
            return config_with_module(
                before, self.module, module_id, spec, overrides=config_overrides, to_train=to_train
            )

        config = with_module(spec)
        with learner.rng.scope():
            if module is None:
                spec = _completed(config, module_id, spec)
                config = with_module(spec)
                module = spec.build()
            learner.config = config
            try:
                self.check(module_id, module)
                if isinstance(module, nn.Module):
                    module.to(learner.device)
                self.module.add_module(module_id, module)
                learner.drivers.add(module_id, module.unwrapped())
                learner.on_module_added(module_id)
                if learner.rl_module_is_compatible(module):
                    self._configure_optimizers(module_id)
            except BaseException:
                self._forget(module_id)
                learner.config = before
                raise
        self.changed()

    def remove(self, module_id: str, *, to_train: Any = None) -> None:
        """Remove a module and all that belongs to it; arguments and errors as of ``Learner.remove_module``."""
        self.module[module_id]
        learner = self._learner
        learner.config = config_without_module(learner.config, self.module, module_id, to_train=to_train)
        self._forget(module_id)
        self.changed()

    def _configure_optimizers(self, module_id: str) -> None:
        with without_compiler_import():
            self._learner.configure_optimizers_for_module(
                module_id, self._learner.config.get_config_for_module(module_id)
            )

    def _forget(self, module_id: str) -> None:
        if module_id not in self.module:
            return
        learner = self._learner
        self.module.remove_module(module_id)
        learner.drivers.remove(module_id)
        learner.on_module_removed(module_id)
        learner.metrics.drop(module_id)
        left = {id(p) for p in self.module.parameters()}
        for parameter, state, kind in learner.optimizers.release_module(module_id, left):
            self._hand_over(parameter, state, kind)

    def _hand_over(self, parameter: nn.Parameter, state: dict[str, Any], kind: type) -> None:
        """Give a parameter that lost its optimizer to that of the next module that holds it, trained ones first."""
        learner = self._learner
        if learner.optimizers.owns(parameter):  # it came with another one
            return
        heirs = [mid for mid, held in self._holders().items() if id(parameter) in held]
        heirs.sort(key=lambda mid: not learner.should_module_be_updated(mid))
        for heir in heirs:
            for registered in learner.optimizers.of(heir):
                registered.adopt(parameter, state if type(registered.optimizer) is kind else {})
                return
        if heirs:
            self._configure_optimizers(heirs[0])

    def _holders(self) -> dict[str, set[int]]:
        """Module id to the identities of its parameters."""
        return {
            mid: {id(p) for p in module.parameters()} if isinstance(module, nn.Module) else set()
            for mid, module in self.module.items()
        }

    # -- bookkeeping --------------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Bring everything that is derived from modules and optimizers up to date."""
        learner, holders = self._learner, self._holders()
        learner.observation_statistics.modules_changed()
        learner.optimizers.modules_changed(holders)
        stepped = set(learner.optimizers.stepped())
        self.stepped = {mid for mid, held in holders.items() if held & stepped}
        self._trained = None
        self.train(tuple(mid for mid in self.module if learner.should_module_be_updated(mid)))
        trainable = sum(p.numel() for p in learner.optimizers.parameters)
        total = sum(p.numel() for _, _, p in self.module.unique_parameters())
        self.parameter_counts = {
            "num_trainable_parameters": trainable,
            "num_non_trainable_parameters": max(0, total - trainable),
        }

    def train(self, trained: tuple[str, ...]) -> None:
        """Let gradients be those of these modules (and of what belongs to no module)."""
        if trained == self._trained:
            return
        self._trained = trained
        holders = self._holders()
        frozen: set[int] = set().union(*(held for mid, held in holders.items() if mid not in trained))
        frozen -= set().union(*(held for mid, held in holders.items() if mid in trained))
        self._learner.optimizers.choose_parameters([p for _, _, p in self.module.unique_parameters()], frozen)


def _completed(config: Any, module_id: str, spec: RLModuleSpec) -> RLModuleSpec:
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
