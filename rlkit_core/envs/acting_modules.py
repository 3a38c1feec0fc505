"""The modules that a runner acts with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import torch

from rlkit_core.columns import DEFAULT_AGENT_ID
from rlkit_core.rl_module import MultiRLModule, RLModule
from rlkit_core.rl_module.agent_mapping import AgentID
from rlkit_core.rl_module.module_set import Difference, ModuleConfig, ModuleSet
from rlkit_core.seeding import TorchRNG

Spaces = dict[str, tuple[gym.Space[Any], gym.Space[Any]]]


class ActingModules:
    """Inference-only modules, and which of them act.

    Args:
        config: says which modules there are, and which of them agents are mapped to.
        spaces: observation and action spaces by module id, for modules whose specs have none; ``"__env__"`` stands for
            every module.
        rng: draws the weights of new modules.
        agents: agents that are known before there is an episode.
        device: where they act; the CPU unless given.

    Attributes:
        module: all modules, by id.
        module_set: which they are; modules that live on learners only are in it, but not in ``module``.

    Raises:
        ConfigError: an agent is mapped to a module that is not among them.
        NoComponentError, SpecError, ...: a module cannot be built for its spaces.
    """

    def __init__(
        self,
        config: ModuleConfig,
        spaces: Spaces,
        rng: TorchRNG,
        *,
        agents: Sequence[AgentID] = (DEFAULT_AGENT_ID,),
        device: torch.device | None = None,
    ) -> None:
        self._rng, self._agents, self._device = rng, tuple(agents), device
        self.module_set = ModuleSet.from_config(config, dict(spaces))
        self._acting: tuple[ModuleSet | None, str | None] = None, None
        self.check_mapping(self.module_set)
        with rng.scope():
            self.module: MultiRLModule = config.get_multi_rl_module_spec(
                spaces=dict(spaces), inference_only=True
            ).build()
        self._settle()

    def _settle(self) -> None:
        self.module.eval()
        if self._device is not None:
            self.module.to(self._device)

    @property
    def acting_id(self) -> str:
        """Id of the module that acts; of several agents, that of the first one."""
        of, module_id = self._acting
        if of is not self.module_set or module_id is None:
            module_id = self.module_set.module_of(self._agents[0])
            always = self.module_set.config.stored("policy_mapping_fn") is None  # a user's may say another one next
            self._acting = self.module_set, module_id if always else None
        return module_id

    @property
    def acting(self) -> RLModule:
        """The module that acts; of several agents, that of the first one."""
        return self.member(self.acting_id)

    def member(self, module_id: str) -> RLModule:
        """What acts for a module: it itself, or a way through the forwards of all of them together."""
        module: RLModule = self.module.acting_member(module_id)
        return module

    def check_mapping(self, module_set: ModuleSet) -> None:
        """Look whether a set has every module that agents are mapped to.

        Raises:
            ConfigError: it does not.
        """
        for agent in self._agents:
            module_set.module_of(agent)

    def set_modules(self, module_set: ModuleSet) -> Difference:
        """Have other modules from now on; new ones have fresh weights until the next ones arrive.

        Returns:
            What went, and what came.

        Raises:
            ConfigError: a module that is to act is not among them; nothing has changed then.
        """
        self.check_mapping(module_set)
        with self._rng.scope():
            difference = module_set.bring(self.module, inference_only=True)
        self._settle()
        self.module_set = module_set
        return difference

    def set_weights(self, state: Mapping[str, Any]) -> None:
        """Take over the weights that :meth:`state_for_here` picks."""
        self.module.set_state(self.state_for_here(state))

    def state_for_here(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Weights for exactly the modules here: without those that only learners have, with our own where they lack."""
        if len(state) == len(self.module) and all(mid in state for mid in self.module):
            return state
        here = {mid: part for mid, part in state.items() if mid in self.module or mid.startswith("__")}
        return {**{mid: self.module[mid].get_state() for mid in self.module if mid not in here}, **here}
