"""Changes of a runner's set of modules while it runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from rlkit_core.columns import DEFAULT_AGENT_ID
from rlkit_core.rl_module import MultiRLModule, RLModule, RLModuleSpec
from rlkit_core.seeding import TorchRNG


class RunnerModules:
    """The part of a runner that changes its modules."""

    config: Any
    module: MultiRLModule
    _rng: TorchRNG
    _acting_id: str
    _acts: RLModule
    _buffers: Any

    @property
    def acting_module(self) -> RLModule:
        """The module that acts."""
        raise NotImplementedError

    def reset_envs(self) -> None:
        """Begin with fresh episodes."""
        raise NotImplementedError

    def _begin_to_act(self) -> None:
        raise NotImplementedError

    @staticmethod
    def maps_to(config: Any) -> str:
        """Id of the module that a config maps the sole agent to."""
        return str(config.policy_mapping_fn(DEFAULT_AGENT_ID, None))

    def set_modules(self, config: Any, specs: Mapping[str, RLModuleSpec], *, anew: Collection[str] = ()) -> None:
        """Have another set of modules from now on; new ones have fresh weights until the next ones arrive.

        The envs begin with fresh episodes if another module acts.

        Args:
            config: says which module acts.
            specs: what to build, by module id; modules that are here stay as they are.
            anew: ids that are built again all the same.
        """
        with self._rng.scope():
            for module_id in [mid for mid in self.module if mid not in specs or mid in anew]:
                self.module.remove_module(module_id)
            for module_id, given in specs.items():
                if module_id not in self.module and not given.learner_only:
                    spec = given.copy()
                    spec.inference_only = True
                    self.module.add_module(module_id, spec.build())
        self.module.eval()
        self.config = config
        self._acting_id = self.maps_to(config)
        if self.acting_module.unwrapped() is not self._acts:
            self._begin_to_act()
            self._buffers = None
            self.reset_envs()

    def misfits(self, state: Mapping[str, Any]) -> list[str]:
        """Ids of modules whose part of ``state`` lacks something, or has it in another shape."""
        found = []
        for module_id, module in self.module.items():
            given = state.get(module_id)
            own = module.get_state()
            if given is not None and any(
                name not in given or given[name].shape != value.shape for name, value in own.items()
            ):
                found.append(module_id)
        return found

    def state_for_here(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Weights for exactly the modules here: without those that only learners have, with our own where they lack."""
        if len(state) == len(self.module) and all(mid in state for mid in self.module):
            return state
        here = {mid: part for mid, part in state.items() if mid in self.module or mid.startswith("__")}
        return {**{mid: self.module[mid].get_state() for mid in self.module if mid not in here}, **here}
