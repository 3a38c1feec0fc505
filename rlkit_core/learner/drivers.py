"""API mixins and their drivers, bound to one learner.

A driver is what the learner does for every module that implements an API. Its methods are looked up once, when a module
joins the learner; an update then calls plain bound methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import evolve
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.nested import first_leaf
from rlkit_core.errors import PluginError
from rlkit_core.learner.optim.losses import Loss, add_term, check_loss
from rlkit_core.plugins.guard import in_use, safe_text
from rlkit_core.plugins.using import driver_name
from rlkit_core.rl_module.apis import driver_class, drivers_for, loss_replacement
from rlkit_core.rl_module.apis.driver_contract import with_its_keywords

if TYPE_CHECKING:
    from rlkit_core.data.rollout import Rollout
    from rlkit_core.plugins.records import ModuleAPI, Registered
    from rlkit_core.rl_module import RLModule

_NONE: frozenset[str] = frozenset()
_EVENTS = ("on_rollout", "before_update", "extra_loss", "compute_loss", "after_update")
Call = Callable[..., Any]


def with_own_rewards(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns in a dict of its own, and rewards, where there are some, in memory of their own."""
    own = dict(columns)
    if isinstance(own.get(Columns.REWARDS), Tensor):
        own[Columns.REWARDS] = own[Columns.REWARDS].clone()
    return own


def _check_rewards(who: str, rewards: object, before: Any) -> None:
    if isinstance(rewards, Tensor) and rewards.shape == before.shape and rewards.dtype is before.dtype:
        return
    seen = f"{rewards.dtype} {tuple(rewards.shape)}" if isinstance(rewards, Tensor) else safe_text(rewards, 80)
    raise PluginError(f"{who} left rollout.columns['rewards'] = {seen}, expected {before.dtype} {tuple(before.shape)}")


class Bound(NamedTuple):
    """A driver's method, called with all keywords of its event, and whose it is."""

    call: Call
    who: str


class DriverSet:
    """The drivers of all modules of one learner: one instance per API, shared by its modules.

    What a driver raises goes on with a note that names plugin, driver and method.

    Args:
        learner: passed to every driver call.
    """

    def __init__(self, learner: Any) -> None:
        self._learner = learner
        self._instances: dict[str, Any] = {}
        self._records: dict[str, Registered[ModuleAPI]] = {}
        self._of_module: dict[str, list[str]] = {}
        self._calls: dict[str, dict[str, list[Bound]]] = {}
        self._heard: dict[str, frozenset[str]] = {}  # the events that a module's drivers have methods for

    def add(self, module_id: str, module: RLModule) -> None:
        """Bind the drivers of a module and let them prepare it.

        Raises:
            ModuleAPIError: two APIs of the module would both replace its loss.
            PluginError: a driver has methods that would never be called, or not with the arguments they take.
        """
        replacement = loss_replacement(module)
        names = []
        for record in drivers_for(module):
            factory = driver_class(record)
            if factory is None:
                continue
            name = record.id
            if name not in self._instances:
                with in_use(driver_name(record, "__init__")):
                    self._instances[name] = factory()
                self._records[name] = record
            names.append(name)
        self._of_module[module_id] = names
        self._calls[module_id] = {
            event: [bound for name in names if (bound := self._bound(name, event)) is not None] for event in _EVENTS
        }
        if replacement is not None:
            chosen = self._bound(replacement.id, "compute_loss")
            self._calls[module_id]["compute_loss"] = [chosen] if chosen is not None else []
        self._heard[module_id] = frozenset(event for event, calls in self._calls[module_id].items() if calls)
        for name in names:
            self._tell(name, "on_build", learner=self._learner, module_id=module_id, module=module)

    def _bound(self, name: str, event: str) -> Bound | None:
        method = getattr(self._instances[name], event, None)
        if method is None:
            return None
        return Bound(with_its_keywords(event, method), driver_name(self._records[name], event))

    def _tell(self, name: str, event: str, **kwargs: object) -> None:
        bound = self._bound(name, event)
        if bound is not None:
            with in_use(bound.who):
                bound.call(**kwargs)

    def remove(self, module_id: str) -> None:
        """Unbind a module."""
        for name in self._of_module.pop(module_id, ()):
            self._tell(name, "on_remove", learner=self._learner, module_id=module_id)
        self._calls.pop(module_id, None)
        self._heard.pop(module_id, None)

    def hears(self, module_id: str, *events: str) -> bool:
        """Whether a driver of a module has a method for one of these events; False of a module that is not here."""
        return not self._heard.get(module_id, _NONE).isdisjoint(events)

    def on_rollout(self, module_id: str, module: RLModule, rollout: Rollout) -> Rollout:
        """The rollout as drivers leave it: rewards may be other ones, and columns be added.

        Rollouts are kept where they came from, perhaps to be learned from again. So what is handed to drivers, here or
        in :meth:`before_update`, has a dict of columns and rewards of its own; where none listens it is the rollout.

        Raises:
            PluginError: a driver has left something else than rewards.
        """
        if not self.hears(module_id, "on_rollout", "before_update"):
            return rollout
        rollout = evolve(rollout, columns=with_own_rewards(rollout.columns))
        calls = self._calls[module_id]["on_rollout"]
        config = self._learner.config.get_config_for_module(module_id) if calls else None
        before = rollout.columns[Columns.REWARDS]
        for bound in calls:
            with in_use(bound.who):
                bound.call(learner=self._learner, module_id=module_id, module=module, config=config, rollout=rollout)
            _check_rewards(bound.who, rollout.columns.get(Columns.REWARDS), before)
        return rollout

    def see_rollouts(self, rollouts: Mapping[str, Rollout]) -> dict[str, Rollout]:
        """Rollouts as :meth:`on_rollout` leaves them, for those who keep them instead of learning from them now.

        Args:
            rollouts: ``{module id: Rollout}``; those that no driver listens for come back as they are.
        """
        seen, learner = dict(rollouts), self._learner
        heard = [module_id for module_id in rollouts if self.hears(module_id, "on_rollout")]
        if not heard:
            return seen
        with learner.rng.scope():
            for module_id in heard:
                module, rollout = learner.module[module_id], rollouts[module_id]
                module.eval()
                changed = self.on_rollout(module_id, module.unwrapped(), rollout.to(learner.device))
                seen[module_id] = changed.to(first_leaf(rollout.columns).device)
        return seen

    def before_ready(self, module_id: str, batch: dict[str, Any]) -> dict[str, Any]:
        """The columns of a batch that was made elsewhere, as :meth:`before_update` leaves them."""
        if not self.hears(module_id, "before_update"):
            return batch
        module, batch = self._learner.module[module_id], with_own_rewards(batch)
        module.eval()
        self.before_update(module_id, module.unwrapped(), batch)
        return batch

    def before_update(self, module_id: str, module: RLModule, batch: dict[str, Any]) -> None:
        """Once per update, on the whole batch: drivers may change rewards and add columns."""
        for bound in self._calls[module_id]["before_update"]:
            with in_use(bound.who):
                bound.call(learner=self._learner, module_id=module_id, module=module, batch=batch)

    def loss(
        self,
        default: Call,
        *,
        module_id: str,
        module: RLModule,
        config: Any,
        batch: Mapping[str, Any],
        fwd_out: Mapping[str, Any],
    ) -> Loss:
        """The loss of one module: a driver's where one replaces it, else ``default``'s, plus drivers' extra terms."""
        calls = self._calls[module_id]
        given: dict[str, Any] = {"module_id": module_id, "config": config, "batch": batch, "fwd_out": fwd_out}
        loss: Loss
        if calls["compute_loss"]:
            loss = self._term(calls["compute_loss"][0], module=module, **given)
        else:
            loss = default(**given)
        for bound in calls["extra_loss"]:
            term = self._term(bound, module=module, **given)
            loss = add_term(loss, term, module_id, self._learner.optimizers, bound.who)
        return loss

    def _term(self, bound: Bound, *, module_id: str, **given: object) -> Loss:
        try:  # costs nothing where nothing is raised, unlike a with statement
            term: Loss = bound.call(learner=self._learner, module_id=module_id, **given)
        except BaseException:
            with in_use(bound.who):
                raise
        if not isinstance(term, Tensor) or term.ndim:
            check_loss(term, module_id, self._learner.optimizers, bound.who, PluginError)
        return term

    def after_update(self, module_id: str, module: RLModule, timesteps: Mapping[str, int]) -> None:
        """Once per update, after the last minibatch."""
        for bound in self._calls[module_id]["after_update"]:
            with in_use(bound.who):
                bound.call(learner=self._learner, module_id=module_id, module=module, timesteps=timesteps)

    def get_state(self) -> dict[str, Any]:
        """``{"distribution/api": driver state}`` of the drivers that have one."""
        state = {}
        for name, driver in self._instances.items():
            if hasattr(driver, "get_state"):
                with in_use(driver_name(self._records[name], "get_state")):
                    state[name] = driver.get_state()
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Give the drivers their state back; states of drivers that are not here are left aside."""
        for name, driver_state in state.items():
            driver = self._instances.get(name)
            if driver is not None and hasattr(driver, "set_state"):
                with in_use(driver_name(self._records[name], "set_state")):
                    with_its_keywords("set_state", driver.set_state)(state=driver_state)
