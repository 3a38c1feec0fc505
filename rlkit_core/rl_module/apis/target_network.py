"""TargetNetworkAPI: modules with slowly following copies of their networks."""

from __future__ import annotations

import abc
import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def make_target_network(main_net: nn.Module) -> nn.Module:
    """Return a copy of ``main_net`` that takes no gradients.

    Raises:
        ValueError: ``main_net`` is no ``torch.nn.Module``.
    """
    if not isinstance(main_net, nn.Module):
        raise ValueError(
            f"make_target_network: expected a torch.nn.Module, got {type(main_net).__name__}; only torch networks "
            "have target networks"
        )
    target = copy.deepcopy(main_net)
    target.requires_grad_(False)
    return target


@torch.no_grad()
def update_target_network(*, main_net: nn.Module, target_net: nn.Module, tau: float = 1.0) -> None:
    """Move the target towards the main network: ``target = tau * main + (1 - tau) * target``.

    Floating-point parameters and buffers are mixed, other buffers (counters) are copied. ``tau`` 1.0 is a copy.
    Mnih et al. 2015 (hard copies), Lillicrap et al. 2016 (soft ones).

    Raises:
        ValueError: ``tau`` is not in (0, 1], or the two networks differ in structure.
    """
    if not 0.0 < tau <= 1.0:
        raise ValueError(f"update_target_network: tau is {tau}, expected 0 < tau <= 1")
    main, target = _tensors(main_net), _tensors(target_net)
    if main.keys() != target.keys():
        odd = ", ".join(sorted(main.keys() ^ target.keys()))
        raise ValueError(f"update_target_network: the two networks differ: only one of them has {odd}")
    for name, value in target.items():
        if tau < 1.0 and value.is_floating_point():
            value.lerp_(main[name].to(value.dtype), tau)
        else:
            value.copy_(main[name])


def _tensors(net: nn.Module) -> dict[str, torch.Tensor]:
    return dict(net.named_parameters()) | dict(net.named_buffers())


class TargetNetworkAPI(abc.ABC):
    """A module with target networks; the Learner makes them after build and syncs them."""

    @abc.abstractmethod
    def make_target_networks(self) -> None:
        """Make the target networks, for instance with :func:`make_target_network`, and store them on ``self``."""

    @abc.abstractmethod
    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Return ``[(main network, its target network), ...]``."""

    @abc.abstractmethod
    def forward_target(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Run the target networks on a batch."""


def target_names(module: Any) -> list[str]:
    """State-dict names of a module's target networks; none before they are made."""
    try:
        pairs = module.get_target_network_pairs()
    except AttributeError:  # not made yet
        return []
    targets = {id(tensor) for _, target in pairs for tensor in target.state_dict(keep_vars=True).values()}
    return [name for name, tensor in module.state_dict(keep_vars=True).items() if id(tensor) in targets]


class TargetNetworkDriver:
    """Makes target networks at build and syncs them by ``target_network_update_freq`` and ``tau``.

    A sync happens after an update once at least ``config.target_network_update_freq`` lifetime env steps have passed
    since the last (0: after every update). A config class with another clock has a property ``target_network_clock``,
    ``(key in timesteps, count between syncs)``. The counters are part of the driver's state.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._count: dict[str, int] = {}

    def on_build(self, *, learner: Any, module_id: str, module: Any) -> None:
        """Make the target networks and start counting."""
        if module.inference_only:
            return
        module.make_target_networks()
        for main, target in module.get_target_network_pairs():
            target.requires_grad_(False)
            update_target_network(main_net=main, target_net=target, tau=1.0)
        self._last.setdefault(module_id, 0)
        self._count.setdefault(module_id, 0)

    def on_remove(self, *, learner: object, module_id: str) -> None:
        """Forget a module that was removed."""
        self._last.pop(module_id, None)
        self._count.pop(module_id, None)

    def after_update(self, *, learner: Any, module_id: str, module: Any, timesteps: Mapping[str, int]) -> None:
        """Sync when it is due by ``timesteps``: lifetime env steps, or the runners' counts of them."""
        config = learner.config.get_config_for_module(module_id)
        if hasattr(type(config), "target_network_clock"):
            key, every = config.target_network_clock
            now = _lifetime(timesteps, key)
        else:
            every = int(getattr(config, "target_network_update_freq", 0) or 0)
            now = _lifetime(timesteps)
        if now - self._last.get(module_id, 0) < every:
            return
        tau = float(getattr(config, "tau", 1.0))
        for main, target in module.get_target_network_pairs():
            update_target_network(main_net=main, target_net=target, tau=tau)
        self._last[module_id] = now
        self._count[module_id] = self._count.get(module_id, 0) + 1
        learner.metrics.log_value((module_id, "num_target_updates"), self._count[module_id], reduce="last")
        learner.metrics.log_value((module_id, "last_target_update_ts"), now, reduce="last")

    def get_state(self) -> dict[str, Any]:
        """Return the counters."""
        return {"last_update": dict(self._last), "num_updates": dict(self._count)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take the counters over."""
        self._last = {key: int(value) for key, value in state["last_update"].items()}
        self._count = {key: int(value) for key, value in state["num_updates"].items()}


def _lifetime(timesteps: Mapping[str, int], *first: str) -> int:
    """A lifetime count of env steps: that of the first key that is there."""
    if isinstance(timesteps, Mapping):
        for key in (*first, "num_env_steps_sampled_lifetime", "num_env_steps_trained_lifetime"):
            if key in timesteps:
                return int(timesteps[key])
        raise KeyError(
            "timesteps: expected num_env_steps_sampled_lifetime or num_env_steps_trained_lifetime, got "
            + (", ".join(map(str, timesteps)) or "nothing")
        )
    return int(timesteps)
