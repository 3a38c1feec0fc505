"""API mixins and their drivers, bound to one learner.

A driver is what the learner does for every module that implements an API. Its methods are looked up once, when a module
joins the learner; an update then calls plain bound methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rlkit_core.rl_module.apis import driver_class, drivers_for, loss_replacement

if TYPE_CHECKING:
    from rlkit_core.rl_module import RLModule

_EVENTS = ("before_update", "extra_loss", "compute_loss", "after_update")
Call = Callable[..., Any]


class DriverSet:
    """The drivers of all modules of one learner: one instance per API, shared by its modules.

    Args:
        learner: passed to every driver call.
    """

    def __init__(self, learner: Any) -> None:
        self._learner = learner
        self._instances: dict[str, Any] = {}
        self._of_module: dict[str, list[str]] = {}
        self._calls: dict[str, dict[str, list[Call]]] = {}

    def add(self, module_id: str, module: RLModule) -> None:
        """Bind the drivers of a module and let them prepare it.

        Raises:
            ModuleAPIError: two APIs of the module would both replace its loss.
        """
        replacement = loss_replacement(module)
        names = []
        for record in drivers_for(module):
            factory = driver_class(record)
            if factory is None:
                continue
            name = record.id
            if name not in self._instances:
                self._instances[name] = factory()
            names.append(name)
        self._of_module[module_id] = names
        self._calls[module_id] = {
            event: [getattr(self._instances[n], event) for n in names if hasattr(self._instances[n], event)]
            for event in _EVENTS
        }
        if replacement is not None:
            chosen = self._instances[replacement.id]
            self._calls[module_id]["compute_loss"] = [chosen.compute_loss]
        for name in names:
            on_build = getattr(self._instances[name], "on_build", None)
            if on_build is not None:
                on_build(learner=self._learner, module_id=module_id, module=module)

    def remove(self, module_id: str) -> None:
        """Unbind a module."""
        for name in self._of_module.pop(module_id, ()):
            on_remove = getattr(self._instances[name], "on_remove", None)
            if on_remove is not None:
                on_remove(learner=self._learner, module_id=module_id)
        self._calls.pop(module_id, None)

    def before_update(self, module_id: str, module: RLModule, batch: dict[str, Any]) -> None:
        """Once per update, on the whole batch: drivers may change rewards and add columns."""
        for call in self._calls[module_id]["before_update"]:
            call(learner=self._learner, module_id=module_id, module=module, batch=batch)

    def loss(
        self,
        default: Call,
        *,
        module_id: str,
        module: RLModule,
        config: Any,
        batch: Mapping[str, Any],
        fwd_out: Mapping[str, Any],
    ) -> Tensor:
        """The loss of one module: a driver's where one replaces it, else ``default``'s, plus drivers' extra terms."""
        calls = self._calls[module_id]
        if calls["compute_loss"]:
            loss: Tensor = calls["compute_loss"][0](
                learner=self._learner,
                module_id=module_id,
                module=module,
                config=config,
                batch=batch,
                fwd_out=fwd_out,
            )
        else:
            loss = default(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        for call in calls["extra_loss"]:
            loss = loss + call(
                learner=self._learner,
                module_id=module_id,
                module=module,
                config=config,
                batch=batch,
                fwd_out=fwd_out,
            )
        return loss

    def after_update(self, module_id: str, module: RLModule, timesteps: Mapping[str, int]) -> None:
        """Once per update, after the last minibatch."""
        for call in self._calls[module_id]["after_update"]:
            call(learner=self._learner, module_id=module_id, module=module, timesteps=timesteps)

    def get_state(self) -> dict[str, Any]:
        """``{"distribution/api": driver state}`` of the drivers that have one."""
        return {n: d.get_state() for n, d in self._instances.items() if hasattr(d, "get_state")}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Give the drivers their state back; states of drivers that are not here are left aside."""
        for name, driver_state in state.items():
            driver = self._instances.get(name)
            if driver is not None and hasattr(driver, "set_state"):
                driver.set_state(driver_state)
