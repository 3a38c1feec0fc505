"""TorchRLModule: an RLModule that is an ``nn.Module``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from rlkit_core.rl_module.apis import implements
from rlkit_core.rl_module.apis.target_network import TargetNetworkAPI, target_names, update_target_network
from rlkit_core.rl_module.base import RLModule
from rlkit_core.rl_module.state import load_nn_state, nn_state, under


class TorchRLModule(nn.Module, RLModule):
    """Base of modules made of torch networks.

    Acting forwards run in eval mode and without gradients, and leave the mode as they found it; ``forward_train``
    switches to train mode. A module that is in eval mode already, called where gradients are off, pays for neither.

    Calling the module is ``forward_train`` (``forward_exploration`` when it is ``inference_only``).
    """

    framework = "torch"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.__dict__.get("_is_setup"):
            nn.Module.__init__(self)
        RLModule.__init__(self, *args, **kwargs)

    # -- forwards ----------------------------------------------------------------------------------------------

    def forward(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """The forward behind ``module(batch)``."""
        if self.inference_only:
            return self.forward_exploration(batch, **kwargs)
        return self.forward_train(batch, **kwargs)

    def forward_exploration(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Forward for collecting data, in eval mode without gradients."""
        if self.training or self._checks or torch.is_grad_enabled():
            return acting_call(self, self._call, "exploration", batch, kwargs)
        return self._call("exploration", batch, kwargs) if kwargs else self._forward_exploration(batch)

    def forward_inference(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Forward for acting without exploration, in eval mode without gradients."""
        if self.training or self._checks or torch.is_grad_enabled():
            return acting_call(self, self._call, "inference", batch, kwargs)
        return self._call("inference", batch, kwargs) if kwargs else self._forward_inference(batch)

    def forward_train(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Forward for the loss, in train mode.

        Raises:
            RuntimeError: the module is ``inference_only``.
        """
        if self.inference_only:
            raise self._no_training()
        if not self.training:
            self.train()
        if kwargs or self._checks:
            return self._call("train", batch, kwargs)
        return self._forward_train(batch)

    def add_exploration_noise(self, actions: Tensor, noise: Tensor | None = None, *, scale: float | Tensor) -> Tensor:
        """Actions of a deterministic policy with noise on them, within the bounds: what TD3 and DDPG explore by.

        Args:
            actions: raw ones of a Box, (B, D).
            noise: standard normal, (B, D): the argument of that name that ``_forward_exploration`` is given; drawn here
                where it is None.
            scale: its standard deviation, in units of raw actions.
        """
        noisy = actions + scale * (torch.randn_like(actions) if noise is None else noise)
        low, high = self._raw_bounds(actions)
        return noisy if low is None else torch.clamp(noisy, low, high)

    def _raw_bounds(self, like: Tensor) -> tuple[Any, Any]:
        space = self.action_space
        if not isinstance(space, gym.spaces.Box) or not space.is_bounded():
            return None, None
        if self.model_config.get("normalize_actions", True):
            return -1.0, 1.0
        low, high = (torch.as_tensor(bound).reshape(-1).to(like) for bound in (space.low, space.high))
        return low, high

    # -- distributions -----------------------------------------------------------------------------------------

    def get_exploration_action_dist_cls(self) -> Any:
        """``action_dist_cls``, else the plain one of the action space; for all phases unless overridden."""
        chosen = self.action_dist_cls
        if chosen is not None:
            return chosen
        from rlkit_core.distributions import Categorical, DiagGaussian

        return self.plain_action_dist_cls(Categorical, DiagGaussian)

    get_inference_action_dist_cls = get_exploration_action_dist_cls
    get_train_action_dist_cls = get_exploration_action_dist_cls

    # -- state -------------------------------------------------------------------------------------------------

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """All parameters and buffers as numpy copies; a single module has no components to choose from.

        ``inference_only`` leaves out what an inference-only copy of this module does not have.
        """
        return nn_state(self, without=self._non_inference() if inference_only else ())

    def get_state_to_save(self, not_components: Collection[str] = ()) -> dict[str, Any]:
        """The same without a copy, unless a subclass has a state of its own making."""
        if type(self).get_state is not TorchRLModule.get_state:
            state: dict[str, Any] = super().get_state_to_save(not_components)
            return state
        return nn_state(self, copy=False)

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Copy arrays into the parameters and buffers, in place.

        Args:
            state: what ``get_state`` gave; numpy arrays or tensors.
            strict: refuse missing and unexpected names. Entries of attributes that an inference-only module has
                dropped are ignored either way; one with the TargetNetworkAPI makes no targets, whose names only they
                tell, and ignores all that it does not have. A state without target networks (from a module that was
                never trained) is fine, they become copies of their main networks.

        Raises:
            StateError: names (when strict) or shapes differ; nothing is changed.
        """
        ignore = self.stripped_attributes
        lacking: list[str] = []
        if implements(self, TargetNetworkAPI) and self.inference_only:
            present = self.state_dict()
            ignore = (*ignore, *(name for name in state if name not in present))
        elif implements(self, TargetNetworkAPI):
            present = self.state_dict()
            if strict and any(name not in present and not under(name, ignore) for name in state):
                # The state may be that of a trained module, whose Learner has made the target networks.
                self.make_target_networks()
            lacking = [name for name in target_names(self) if name not in state]
        only = [name for name in self.state_dict() if name not in lacking] if lacking else None
        load_nn_state(type(self).__name__, self, state, ignore=ignore, strict=strict, only=only)
        if lacking and implements(self, TargetNetworkAPI):
            for main, target in self.get_target_network_pairs():
                update_target_network(main_net=main, target_net=target)

    @classmethod
    def copies_state(cls) -> bool:
        """Yes, unless a subclass has a :meth:`set_state` of its own."""
        return cls.set_state is TorchRLModule.set_state

    def _non_inference(self) -> tuple[str, ...]:
        attributes = self.non_inference_attributes()
        if implements(self, TargetNetworkAPI) and not self.inference_only:
            return (*attributes, *target_names(self))
        return attributes

    @property
    def device(self) -> torch.device:
        """Where the parameters (or buffers) are; the CPU for a module without any."""
        tensors = itertools.chain(self.parameters(), self.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))


def acting_call(
    module: nn.Module,
    call: Callable[[str, dict[str, Any], dict[str, Any]], dict[str, Any]],
    phase: str,
    batch: dict[str, Any],
    kwargs: dict[str, Any],
) -> dict[str, Any]:
    """Run an acting forward in eval mode and without gradients; the mode is restored even after an error."""
    was_training = module.training
    if was_training:
        module.eval()
    try:
        if torch.is_grad_enabled():
            with torch.no_grad():
                return call(phase, batch, kwargs)
        return call(phase, batch, kwargs)
    finally:
        if was_training:
            module.train()
