"""One optimizer of a learner: its parameters and their buffers, learning rate, step and state."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import torch
from attrs import define, field
from torch import Tensor, nn

from rlkit_core.columns import DEFAULT_OPTIMIZER
from rlkit_core.errors import CheckpointError, ConfigError
from rlkit_core.learner.metrics import BlockKeys
from rlkit_core.learner.optim.clipping import ParamDict
from rlkit_core.learner.optim.flat_buffers import FlatParameters
from rlkit_core.learner.optim.fused_adam import FusedStep, fused_step
from rlkit_core.learner.optim.schedule import Scheduler
from rlkit_core.learner.optim.torch_schedule import TorchSchedules, is_torch_schedule

_LAYOUTS = itertools.count()


@define(eq=False)
class RegisteredOptimizer:
    """One optimizer and what it steps.

    Attributes:
        name: ``"<module id>_<optimizer name>"``.
        module_id: the module it belongs to, or ``ALL_MODULES``.
        short_name: the name it was registered under.
        optimizer: the torch optimizer.
        parameters: what it steps, in order.
        schedule: of its learning rate, by sampled env steps.
        torch_schedules: torch's own schedulers, stepped once per update.
        holders: for each parameter the ids of the modules that hold it.
        module_parameters: identities of the parameters that are modules'.
        flat: one flat buffer per parameter group, or None for a group that cannot be flattened.
        step: does what ``optimizer.step()`` does.
        rate_key: where its learning rate is logged.
        rate_is_new: its state was restored from one that was registered with another learning rate.
        layout: another number whenever its parameters, their buffers or moments become other tensors.
    """

    name: str
    module_id: str
    short_name: str
    optimizer: torch.optim.Optimizer
    parameters: list[nn.Parameter]
    schedule: Scheduler | None
    torch_schedules: TorchSchedules | None = None
    holders: frozenset[frozenset[str]] = frozenset()
    module_parameters: set[int] = field(factory=set)
    flat: list[FlatParameters | None] = field(factory=list)
    step: Callable[..., Any] = field(init=False)
    rate_key: BlockKeys = field(init=False)
    rate_is_new: bool = field(init=False, default=False)
    _options: list[dict[str, Any]] = field(init=False, factory=list)
    _ids: list[int] = field(init=False)
    layout: int = field(init=False, factory=_LAYOUTS.__next__)

    def __attrs_post_init__(self) -> None:
        self.step = self.optimizer.step
        self._ids = list(map(id, self._registered()))
        self.rate_key = (((self.module_id, f"{self.short_name}_learning_rate"), "last"),)

    def note_options(self) -> None:
        """Keep the options that it begins with: where a state began with the same, what it was changed to counts."""
        self._options = [self._plain_options(group) for group in self.optimizer.param_groups]
        for options in self._options:
            if self.schedule is not None:
                options["lr"] = self.schedule.points

    def _begun_otherwise(self, options: Sequence[dict[str, Any]]) -> list[set[str]]:
        """For each group the names of options that it began with and that are others in ``options``."""
        known = [*options, *[{}] * len(self.optimizer.param_groups)]
        mine = [*self._options, *[{}] * len(self.optimizer.param_groups)]
        return [
            {name for name, value in before.items() if name in own and own[name] != value}
            for before, own, _ in zip(known, mine, self.optimizer.param_groups, strict=False)
        ]

    @staticmethod
    def _plain_options(group: dict[str, Any]) -> dict[str, Any]:
        return {k: _plain(v) for k, v in group.items() if k != "params"}

    def owns(self, parameter: Tensor) -> bool:
        """Whether it steps ``parameter``."""
        return any(own is parameter for own in self.parameters)

    def serves(self, module_ids: Collection[str]) -> bool:
        """Whether losses of ``module_ids`` reach all its parameters, as far as modules tell."""
        return all(any(mid in module_ids for mid in holders) for holders in self.holders)

    @property
    def buffer(self) -> FlatParameters | None:
        """The flat buffer that holds all its parameters, if there is exactly one."""
        return self.flat[0] if len(self.flat) == 1 else None

    def flatten(self) -> None:
        """Make its parameters views of flat buffers where that changes no result; the optimizer looks as before."""
        if self.flat:
            return
        for group in self.optimizer.param_groups:
            fits = FlatParameters.fits(self.optimizer, group)
            self.flat.append(FlatParameters(group["params"]) if fits else None)
        self.step = fused_step(self.optimizer, self.flat)
        self.layout = next(_LAYOUTS)

    def unflatten(self) -> None:
        """Let torch step one tensor per parameter from now on; for steps that only some parameters take part in."""
        self.flat = []
        self.step = self.optimizer.step
        self.layout = next(_LAYOUTS)

    def look_again(self) -> bool:
        """Follow what someone did to the torch optimizer: groups or parameters added or removed, state replaced.

        Returns:
            Whether it steps other parameters now.
        """
        step = self.step
        if isinstance(step, FusedStep) and not step.take_over(begin=False):
            self.unflatten()
        parameters = self._registered()
        if list(map(id, parameters)) == self._ids:
            return False
        self.unflatten()
        self.parameters, self._ids = parameters, list(map(id, parameters))
        return True

    def _registered(self) -> list[nn.Parameter]:
        """What the torch optimizer has in its groups."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def flat_gradient(self, gradients: ParamDict) -> Tensor | None:
        """The buffer of all its gradients, where those in ``gradients`` are exactly its views; else None."""
        buffer = self.buffer
        if buffer is None:
            return None
        for parameter, view in zip(buffer.parameters, buffer.gradients, strict=True):
            if gradients.get(parameter) is not view:
                return None
        return buffer.gradient

    def as_buffer(self, gradients: ParamDict) -> ParamDict:
        """``gradients`` as one entry, where they are exactly the views of a flat buffer; else as they are."""
        flat, buffer = self.flat_gradient(gradients), self.buffer
        return gradients if flat is None or buffer is None else {buffer.parameter: flat}

    def zero_grad(self, *, all_reached: bool = True) -> None:
        """Clear gradients: flat ones to zero, others to None.

        Args:
            all_reached: False lets parameters of a flat buffer have None too, so that those which the coming losses
                do not reach can be told from those with gradient zero.
        """
        for group, buffer in zip(self.optimizer.param_groups, self._buffers(), strict=True):
            if buffer is not None and all_reached:
                buffer.zero_grad()
            else:
                for parameter in buffer.parameters if buffer is not None else group["params"]:
                    parameter.grad = None

    def prepare_step(self, num_gradients: int, gradients: ParamDict) -> None:
        """Bring gradients to where the optimizer looks for them.

        Args:
            num_gradients: how many of its parameters have one.
            gradients: parameter to gradient; parameters that are missing are not stepped.
        """
        if num_gradients < len(self.parameters):
            if self.flat:
                self.unflatten()
            for parameter in self.parameters:
                if parameter not in gradients:
                    parameter.grad = None
            return
        for buffer in self.flat:
            if buffer is not None:
                buffer.collect()

    def adopt(self, parameter: nn.Parameter, state: dict[str, Any]) -> None:
        """Take charge of one more parameter, with the state that another optimizer of the same class had for it."""
        self.unflatten()
        self.optimizer.param_groups[0]["params"].append(parameter)
        self.parameters.append(parameter)
        self._ids = list(map(id, self._registered()))
        if state:
            self.optimizer.state[parameter] = state

    def release(self, parameters: Collection[nn.Parameter]) -> dict[nn.Parameter, dict[str, Any]]:
        """Give up parameters, and return their states."""
        self.unflatten()
        leaving = {id(p) for p in parameters}
        for group in self.optimizer.param_groups:
            group["params"] = [p for p in group["params"] if id(p) not in leaving]
        self.parameters = [p for p in self.parameters if id(p) not in leaving]
        self._ids = list(map(id, self._registered()))
        return {p: self.optimizer.state.pop(p, {}) for p in parameters}

    # -- state, one entry per parameter ------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """``{"module_id", "groups": [hyperparameters and one state per parameter]}``, tensors on the CPU."""
        groups = []
        for group in self.optimizer.param_groups:
            groups.append({"options": self._plain_options(group), "state": self._group_state(group)})
        state: dict[str, Any] = {"module_id": self.module_id, "groups": groups, "begun_with": self._options}
        if self.torch_schedules is not None:
            state["torch_schedules"] = self.torch_schedules.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`get_state`.

        An option that was registered with another value than in the state, because the config says so now, is kept.

        Raises:
            CheckpointError: the parameters are not those of the state.
        """
        groups = self.optimizer.param_groups
        if len(state["groups"]) != len(groups):
            raise CheckpointError(
                f"optimizer {self.name!r}: {len(state['groups'])} parameter groups in the state, expected {len(groups)}"
            )
        for group, saved in zip(groups, state["groups"], strict=True):
            shapes = [tuple(p.shape) for p in group["params"]]
            for name, parts in saved["state"].items():
                seen = [shape if part is None else tuple(part.shape) for part, shape in _zip(parts, shapes)]
                if len(parts) != len(shapes) or any(one and one != own for one, own in _zip(seen, shapes)):
                    raise CheckpointError(
                        f"optimizer {self.name!r}: {name!r} in the state has shapes {seen}, expected {shapes}"
                    )
        kept = self._begun_otherwise(state.get("begun_with", ()))
        self.rate_is_new = any("lr" in names for names in kept)
        for group, saved, own in zip(groups, state["groups"], kept, strict=True):
            for option, value in saved["options"].items():
                if option not in group or option in own:
                    continue
                if isinstance(group[option], Tensor):
                    group[option].fill_(value)
                else:
                    group[option] = tuple(value) if isinstance(group[option], tuple) else value
        for group, saved in zip(groups, state["groups"], strict=True):
            self._set_group_state(group, saved["state"])
        if isinstance(self.step, FusedStep) and not self.step.take_over(begin=False):
            self.unflatten()
        self.layout = next(_LAYOUTS)  # the moments may be other tensors now
        if self.torch_schedules is not None and "torch_schedules" in state:
            self.torch_schedules.set_state(state["torch_schedules"])

    def follow_schedule(self) -> None:
        """Take the learning rate from the schedule, where a restored state had another one."""
        if self.rate_is_new and self.schedule is not None:
            set_lr(self.optimizer, self.schedule.get_current_value())

    def _buffers(self) -> list[FlatParameters | None]:
        return self.flat or [None] * len(self.optimizer.param_groups)

    def _group_state(self, group: dict[str, Any]) -> dict[str, list[Tensor | None]]:
        """``{name: one value per parameter}``; None for a parameter that was never stepped."""
        per_name: dict[str, list[Tensor | None]] = {}
        for index, parameter in enumerate(group["params"]):
            for name, value in self.optimizer.state.get(parameter, {}).items():
                if value is not None:
                    value = value.detach().cpu().clone() if isinstance(value, Tensor) else torch.tensor(float(value))
                    per_name.setdefault(name, [None] * len(group["params"]))[index] = value
        return per_name

    def _set_group_state(self, group: dict[str, Any], saved: dict[str, list[Any]]) -> None:
        on_device = bool(group.get("fused") or group.get("capturable"))
        for index, parameter in enumerate(group["params"]):
            restored: dict[str, Any] = {}
            for name, parts in saved.items():
                if parts[index] is not None:
                    value = torch.as_tensor(parts[index]).clone()
                    restored[name] = value.to(parameter.device if on_device or value.dim() else "cpu")
            if restored:
                self.optimizer.state[parameter] = restored
            else:
                self.optimizer.state.pop(parameter, None)


def _zip(one: Sequence[Any], other: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(one, other, strict=False)


def default_optimizer(parameters: Sequence[nn.Parameter], config: object) -> torch.optim.Optimizer:
    """The Adam of parameters that nobody gives another optimizer; ``adam_epsilon`` of the config is its epsilon."""
    eps = float(getattr(config, "adam_epsilon", None) or 1e-8)
    return torch.optim.Adam(parameters, lr=1e-3, eps=eps, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group; one that is a tensor is changed in place."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def get_lr(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the first parameter group."""
    return float(optimizer.param_groups[0]["lr"])


def _plain(value: object) -> Any:
    if isinstance(value, Tensor):
        return float(value)
    return list(value) if isinstance(value, tuple) else value


def check_optimizer(optimizer: object, params: object) -> None:
    """Raise :class:`~rlkit_core.errors.ConfigError` unless both are what ``register_optimizer`` takes."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ConfigError(f"register_optimizer: expected a torch.optim.Optimizer, got {type(optimizer).__name__}")
    if not isinstance(params, list):
        raise ConfigError(f"register_optimizer: params must be a list, got {type(params).__name__}")
    for parameter in params:
        if not isinstance(parameter, Tensor):
            raise ConfigError(f"register_optimizer: params must hold tensors, found {type(parameter).__name__}")


def make_registered(
    module_id: str,
    optimizer_name: str,
    optimizer: torch.optim.Optimizer,
    params: Sequence[nn.Parameter],
    lr_or_lr_schedule: float | list[list[float]],
) -> RegisteredOptimizer:
    """A record for an optimizer; see ``Learner.register_optimizer``. The learning rate is not set here."""
    torch_schedules: TorchSchedules | None = None
    schedule: Scheduler | None = None
    if is_torch_schedule(lr_or_lr_schedule):
        torch_schedules = TorchSchedules(optimizer, lr_or_lr_schedule)
    elif lr_or_lr_schedule is not None:
        schedule = Scheduler(lr_or_lr_schedule)
    name = optimizer_name or DEFAULT_OPTIMIZER
    registered = RegisteredOptimizer(
        name=f"{module_id}_{name}",
        module_id=module_id,
        short_name=name,
        optimizer=optimizer,
        parameters=list(params),
        schedule=schedule,
        torch_schedules=torch_schedules,
    )
    registered.note_options()
    return registered
