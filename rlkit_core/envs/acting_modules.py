"""The modules that a runner acts with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from rlkit_core.rl_module import MultiRLModule, RLModule
from rlkit_core.rl_module.module_set import ModuleConfig, ModuleSet
from rlkit_core.seeding import TorchRNG

Spaces = dict[str, tuple[gym.Space[Any], gym.Space[Any]]]


class ActingModules:
    """Inference-only modules, and which of them acts.

    Args:
        config: says which modules there are, and which of them the sole agent is mapped to.
        spaces: observation and action space of the env, for modules whose specs have none.
        rng: draws the weights of new modules.

    Attributes:
        module: all modules, by id.
        module_set: which they are; modules that live on learners only are in it, but not in ``module``.
        acting_id: id of the module that acts.

    Raises:
        ValueError: the module that acts is not among them.
        ConfigError, NoComponentError, SpecError, ...: a module cannot be built for its spaces.
    """

    def __init__(self, config: ModuleConfig, spaces: tuple[gym.Space[Any], gym.Space[Any]], rng: TorchRNG) -> None:
        self._rng = rng
        self.module_set = ModuleSet.from_config(config, spaces)
        self.acting_id = self.module_set.module_of()
        with rng.scope():
            self.module: MultiRLModule = config.get_multi_rl_module_spec(spaces=spaces, inference_only=True).build()
        self.module.eval()

    @property
    def acting(self) -> RLModule:
        """The module that acts."""
        module: RLModule = self.module.acting_member(self.acting_id)
        return module

    def set_modules(self, module_set: ModuleSet) -> bool:
        """Have other modules from now on; new ones have fresh weights until the next ones arrive.

        Returns:
            Whether another module acts than before.

        Raises:
            ValueError: the module that is to act is not among them; nothing has changed then.
        """
        acting_id, before = module_set.module_of(), self.acting.unwrapped()
        with self._rng.scope():
            module_set.bring(self.module, inference_only=True)
        self.module.eval()
        self.module_set, self.acting_id = module_set, acting_id
        return self.acting.unwrapped() is not before

    def set_weights(self, state: Mapping[str, Any]) -> None:
        """Take over the weights that :meth:`state_for_here` picks."""
        self.module.set_state(self.state_for_here(state))

    def state_for_here(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Weights for exactly the modules here: without those that only learners have, with our own where they lack."""
        if len(state) == len(self.module) and all(mid in state for mid in self.module):
            return state
        here = {mid: part for mid, part in state.items() if mid in self.module or mid.startswith("__")}
        return {**{mid: self.module[mid].get_state() for mid in self.module if mid not in here}, **here}
