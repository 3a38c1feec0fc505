"""The modules of a learner: which there are, which an update steps, and changes while training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from rlkit_core.columns import DEFAULT_OPTIMIZER
from rlkit_core.errors import CheckpointError, ConfigError, RLKitError
from rlkit_core.frameworks import check_same
from rlkit_core.learner.optim.fused_adam import without_compiler_import
from rlkit_core.learner.override_points import OverridePoints
from rlkit_core.learner.update_data import has_rows
from rlkit_core.rl_module import MultiRLModule, RLModule, RLModuleSpec
from rlkit_core.rl_module.apis import check_required_apis
from rlkit_core.rl_module.module_set import Difference, ModuleSet


class Members:
    """The modules of one learner, with what belongs to each.

    Args:
        learner: whose modules they are.

    Attributes:
        stepped: ids of the modules of which an optimizer steps something.
        parameter_counts: ``num_trainable_parameters`` and ``num_non_trainable_parameters``.
    """

    def __init__(self, learner: OverridePoints) -> None:
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
            check_same(f"module {module_id!r}", member.framework, self._learner.framework)
            self.check(module_id, member)
        module.to(self._learner.device)
        self._module = module
        for module_id, member in module.items():
            self._learner.drivers.add(module_id, member.unwrapped())
            self._learner.on_module_added(module_id)

    def check(self, module_id: str, module: RLModule) -> None:
        """Refuse a module that is to be trained and lacks an API, or is recurrent. One without parameters only acts.

        Raises:
            ModuleAPIError: it lacks one.
            ConfigError: it is recurrent, and the algorithm declares that it trains none.
        """
        learner = self._learner
        if learner.should_module_be_updated(module_id) and learner.get_parameters(module):
            if getattr(learner.config, "supports_recurrent", None) is False and module.unwrapped().is_stateful():
                raise ConfigError(
                    f"module {module_id!r} ({type(module.unwrapped()).__name__}) is recurrent, and "
                    f"{type(learner.config).__name__} declares supports_recurrent = False; use a module without "
                    "recurrence, or stack frames (gymnasium's wrapper)"
                )
            check_required_apis(module.unwrapped(), module_id, learner.rl_module_required_apis())

    # -- changes at run time ------------------------------------------------------------------------------------------

    @property
    def module_set(self) -> ModuleSet:
        """Which modules there are."""
        return ModuleSet.of(self.module, self._learner.config)

    def set_modules(self, module_set: ModuleSet, ready: Mapping[str, RLModule]) -> Difference:
        """Have other modules from now on, with all that belongs to each; see ``Learner.set_modules``."""
        learner, before = self._learner, self._learner.config
        difference = module_set.difference(self.module)
        with learner.rng.scope(), learner.schedules.here():
            build = self.module.build_member
            new = {mid: ready[mid] if mid in ready else build(mid, spec) for mid, spec in difference.new.items()}
            learner.config = module_set.config
            specs, replaced = self.module.current_specs(), {mid: self.module[mid] for mid in difference.rebuilt}
            joined: list[str] = []
            try:
                for module_id, module in new.items():
                    self.check(module_id, module)
                for module_id in replaced:
                    self._forget(module_id)
                for module_id, module in new.items():
                    joined.append(module_id)
                    self._join(module_id, module, difference.new[module_id])
            except BaseException:
                for module_id in joined:
                    self._forget(module_id)
                learner.config = before
                back = {mid: module for mid, module in replaced.items() if mid not in self.module}
                for module_id, module in back.items():
                    self._join(module_id, module, specs[module_id])
                if back:
                    self.changed()
                raise
        for module_id in difference.gone:
            if module_id not in new:
                self._forget(module_id)
        self.changed()
        return difference

    def match(self, state: Mapping[str, Any]) -> None:
        """Have the modules that a learner's state describes, if it does; see :meth:`ModuleSet.as_saved`."""
        present = self.module_set
        saved = present.as_saved(state, self.module) if "modules" in state else present
        if saved is not present:
            self.set_modules(saved, {})

    def set_states(self, states: Mapping[str, Any], *, strict: bool) -> None:
        """Give members their states; states of only some of the members leave the others alone.

        Raises:
            CheckpointError: a member is not here, and ``strict``.
            StateError: names or shapes differ.
        """
        module = self.module
        if all(mid in states for mid in module) or any(key.startswith("__") for key in states):
            module.set_state(states, strict=strict)
            return
        unknown = [mid for mid in states if mid not in module]
        if unknown and strict:
            raise CheckpointError(f"state of unknown modules {unknown}; there are {list(module.keys())}")
        for module_id in states:
            if module_id in module:
                module[module_id].set_state(states[module_id], **({} if strict else {"strict": False}))

    def _join(self, module_id: str, module: RLModule, spec: RLModuleSpec) -> None:
        learner = self._learner
        if isinstance(module, nn.Module):
            module.to(learner.device)
        self.module.add_module(module_id, module, spec=spec)
        learner.drivers.add(module_id, module.unwrapped())
        learner.on_module_added(module_id)
        if learner.rl_module_is_compatible(module):
            self._configure_optimizers(module_id)

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
        left = {id(p) for _, _, p in self.module.unique_parameters()}
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
        else:  # it is still held: by the MultiRLModule itself
            learner.configure_optimizers_for_whole()

    def _holders(self) -> dict[str, set[int]]:
        """Module id to the identities of its parameters."""
        return {mid: {id(p) for p in module.parameters()} for mid, module in self.module.items()}

    # -- bookkeeping --------------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Bring everything that is derived from modules and optimizers up to date."""
        learner, holders = self._learner, self._holders()
        self._give_to_default_optimizers()
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

    def _give_to_default_optimizers(self) -> None:
        """Let a module's ``default_optimizer`` step what its other optimizers leave, a mixin's parts for example."""
        learner = self._learner
        for module_id, module in self.module.items():
            names = {registered.short_name for registered in learner.optimizers.of(module_id)}
            if names and DEFAULT_OPTIMIZER not in names and learner.rl_module_is_compatible(module):
                with without_compiler_import():
                    OverridePoints.configure_optimizers_for_module(learner, module_id)

    def choose(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The data of modules that are trained, are stepped and have rows, on all learners; the next update's."""
        learner = self._learner
        if learner.optimizers.look_again():
            self.changed()
        trained = tuple([mid for mid in self.module if learner.should_module_be_updated(mid, data.get(mid))])
        chosen = {mid: data[mid] for mid in data if mid in trained and mid in self.stepped and has_rows(data[mid])}
        if callable(learner.config.policies_to_train):
            trained, common = learner.peers.common(list(self.module), trained, chosen)
            chosen = {mid: chosen[mid] for mid in common}
        self.train(trained)
        return chosen

    def train(self, trained: tuple[str, ...]) -> None:
        """Let gradients be those of these modules (and of what belongs to no module)."""
        if trained == self._trained:
            return
        self._trained = trained
        holders = self._holders()
        frozen: set[int] = set().union(*(held for mid, held in holders.items() if mid not in trained))
        frozen -= set().union(*(held for mid, held in holders.items() if mid in trained))
        self._learner.optimizers.choose_parameters([p for _, _, p in self.module.unique_parameters()], frozen)
