"""Adam on a flat buffer, without what ``Optimizer.step`` does around it.

``torch.optim`` spends more time in Python than in arithmetic when tensors are many and small, and its first call
imports the compiler (some 80 MB and over a second). The kernel is its own, and the optimizer looks as it was
registered: its groups hold the parameters, its state has each parameter's moments, which are views of flat ones. So
whoever calls ``optimizer.step()``, at any point, continues alike, up to rounding.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from itertools import chain, repeat
from operator import is_, itemgetter
from typing import Any

import torch
from torch import Tensor

from rlkit_core.learner.optim.flat_buffers import FlatParameters

_KERNELS: dict[type, Any] = {
    torch.optim.Adam: getattr(torch, "_fused_adam_", None),
    torch.optim.AdamW: getattr(torch, "_fused_adamw_", None),
}
_PLAIN_OPTIONS = ("amsgrad", "maximize", "capturable", "differentiable")
_MOMENTS = itemgetter("step", "exp_avg", "exp_avg_sq")
_NONE: dict[str, Any] = {}
_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


def fused_step(optimizer: torch.optim.Optimizer, buffers: list[FlatParameters | None]) -> Callable[..., Any]:
    """The fastest function that does what ``optimizer.step()`` does.

    Args:
        optimizer: any torch optimizer.
        buffers: one flat buffer per parameter group, or None where a group has none.

    Returns:
        A :class:`FusedStep` where the optimizer is an ``Adam`` or ``AdamW`` with ``fused=True``, plain options, flat
        parameters and no step hooks; otherwise ``optimizer.step`` itself.
    """
    groups = optimizer.param_groups
    if type(optimizer) not in _KERNELS or _KERNELS[type(optimizer)] is None or len(buffers) != len(groups):
        return optimizer.step
    if any(not group.get("fused") or any(group.get(name) for name in _PLAIN_OPTIONS) for group in groups):
        return optimizer.step
    flat = [buffer for buffer in buffers if buffer is not None]
    return FusedStep(optimizer, flat) if len(flat) == len(buffers) else optimizer.step


class _Moments:
    """The state of one parameter group: flat, and as each parameter's own.

    Args:
        buffer: the group's parameters.
    """

    def __init__(self, buffer: FlatParameters) -> None:
        flat = buffer.parameter
        self.buffer, self.values = buffer, flat.detach()  # the same memory, which is stepped without autograd's notice
        self.steps = torch.zeros(len(buffer.parameters), dtype=torch.float32, device=flat.device)
        self.step, self.in_use = self.steps[0], False
        self.mean, self.square = torch.zeros_like(flat), torch.zeros_like(flat)
        means, squares = buffer.split(self.mean), buffer.split(self.square)
        self.views = [{"step": self.steps[k], "exp_avg": means[k], "exp_avg_sq": squares[k]} for k in range(len(means))]
        self.tensors = [tensor for views in self.views for tensor in _MOMENTS(views)]
        self.first, self.first_mean = buffer.parameters[0], self.views[0]["exp_avg"]

    def is_seen(self, state: Mapping[Any, dict[str, Any]]) -> bool:
        """Whether the optimizer's state is this one, of every parameter."""
        try:
            own = chain.from_iterable(map(_MOMENTS, map(state.get, self.buffer.parameters, repeat(_NONE))))
            return all(map(is_, own, self.tensors))
        except KeyError:  # a parameter without state, or without one of the three
            return False

    def is_fresh(self, state: Mapping[Any, dict[str, Any]]) -> bool:
        """Whether nothing was stepped so far."""
        return not self.in_use and not any(state.get(parameter) for parameter in self.buffer.parameters)

    @torch.no_grad()
    def take_over(self, state: MutableMapping[Any, dict[str, Any]]) -> bool:
        """Let the optimizer's state be this one, with the values that it has; False where it cannot be flat.

        It cannot where parameters were stepped unequally often.
        """
        states = [state.get(parameter) or {} for parameter in self.buffer.parameters]
        if len({float(own["step"]) if own else 0.0 for own in states}) > 1:
            return False
        for own, views in zip(states, self.views, strict=True):
            for name, view in views.items():
                if own and own[name] is not view:
                    view.copy_(own[name])
                elif not own:
                    view.zero_()
        for parameter, views in zip(self.buffer.parameters, self.views, strict=True):
            state[parameter] = dict(views)
        self.in_use = True
        return True


class FusedStep:
    """A direct call of torch's fused kernel on flat parameters.

    Args:
        optimizer: an ``Adam`` or ``AdamW``.
        buffers: of its groups.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, buffers: list[FlatParameters]) -> None:
        self._optimizer = optimizer
        self._kernel = _KERNELS[type(optimizer)]
        self._moments = [_Moments(buffer) for buffer in buffers]
        self._rates: list[Tensor] = []
        self._all = [tensor for moments in self._moments for tensor in moments.tensors]

    @property
    def has_hooks(self) -> bool:
        """Whether someone listens to the optimizer's steps, which then have to be its own."""
        own = self._optimizer.__dict__
        return bool(own.get(_HOOKS[0]) or own.get(_HOOKS[1]))

    def take_over(self, *, begin: bool = True) -> bool:
        """Let the optimizer's state be the flat one, with the values that it has, whoever put them there.

        Args:
            begin: make the state with which the optimizer begins, where it has none yet.

        Returns:
            Whether it is: parameters that were stepped unequally often have no flat state.
        """
        state = self._optimizer.state
        if self._in_order(state):
            return True
        for moments in self._moments:
            if moments.is_seen(state) or (not begin and moments.is_fresh(state)):
                continue
            if not moments.take_over(state):
                return False
        return True

    def _in_order(self, state: Mapping[Any, dict[str, Any]]) -> bool:
        """Whether the optimizer's state is the flat one and nothing else, in order: found without hashing a tensor."""
        try:
            own = chain.from_iterable(map(_MOMENTS, state.values()))
            return 3 * len(state) == len(self._all) and all(map(is_, own, self._all))
        except KeyError:
            return False

    def prepare(self) -> list[Tensor]:
        """Make the state with which the optimizer begins, where it has none; all tensors that a step changes."""
        self.take_over()
        return [t for m in self._moments for t in (m.buffer.parameter, m.steps, m.mean, m.square)]

    def hold_rates_as_tensors(self) -> None:
        """Keep learning rates in tensors on the parameters' device, always the same ones, which recorded steps follow.

        Called before every replay, it takes over a number that someone put in a tensor's place.
        """
        groups = self._optimizer.param_groups
        if not self._rates:
            self._rates = [
                torch.tensor(float(group["lr"]), dtype=torch.float32, device=group["params"][0].device)
                for group in groups
            ]
        for group, rate in zip(groups, self._rates, strict=True):
            if group["lr"] is not rate:
                rate.fill_(group["lr"])
                group["lr"] = rate

    def __call__(self, found_inf: Tensor | None = None) -> None:
        """Step.

        Args:
            found_inf: a 0-dim float32 tensor on the parameters' device; where it is 1, nothing changes, and nobody
                waits to find out.
        """
        state, seen = self._optimizer.state, True
        for moments in self._moments:  # of the first parameter: all are looked at before an update
            first = state.get(moments.first)
            seen = seen and first is not None and first.get("exp_avg") is moments.first_mean
        if not seen and not self.take_over() and found_inf is None:
            self._optimizer.step()
        elif self.has_hooks and found_inf is None:
            self._with_hooks()
        else:
            self._step(found_inf)

    def _with_hooks(self) -> None:
        """The same step, of which the optimizer's hooks hear: they see it as it was registered."""
        around = getattr(torch.optim.Optimizer, "profile_hook_step", None)
        if around is None:  # another torch has another name for it
            self._optimizer.step()
        else:
            around(lambda optimizer: self._step(None))(self._optimizer)

    def _step(self, found_inf: Tensor | None) -> None:
        for group, moments in zip(self._optimizer.param_groups, self._moments, strict=True):
            beta1, beta2 = group["betas"]
            moments.steps += 1
            self._kernel(
                [moments.values],
                [moments.buffer.gradient],
                [moments.mean],
                [moments.square],
                [],
                [moments.step],
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
                found_inf=found_inf,
            )
            if found_inf is not None:
                moments.steps -= found_inf


@contextmanager
def without_compiler_import() -> Iterator[None]:
    """Make optimizers without importing torch's compiler, which registering a parameter group would do.

    Does nothing where the compiler is loaded already, or where this torch does not do it in the way known here.
    """
    function = getattr(torch.optim.Optimizer.add_param_group, "__wrapped__", None)
    marker = "__dynamo_disable"
    if function is None or "torch._dynamo" in sys.modules or hasattr(function, marker):
        yield
        return
    setattr(function, marker, function)
    try:
        yield
    finally:
        delattr(function, marker)
