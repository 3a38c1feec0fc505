"""Adam on a flat buffer, without what ``Optimizer.step`` does around it.

``torch.optim`` spends more time in Python than in arithmetic when there is one small tensor, and its first call imports
the compiler (some 80 MB and over a second). The kernel and the state used here are its own, so a run can go back to
``optimizer.step()`` at any point and continue alike.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from rlkit_core.learner.optim.flat_buffers import FlatParameters

_KERNELS: dict[type, Any] = {
    torch.optim.Adam: getattr(torch, "_fused_adam_", None),
    torch.optim.AdamW: getattr(torch, "_fused_adamw_", None),
}
_PLAIN_OPTIONS = ("amsgrad", "maximize", "capturable", "differentiable")
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
    if type(optimizer) not in _KERNELS or any(buffer is None for buffer in buffers):
        return optimizer.step
    if _KERNELS[type(optimizer)] is None or len(buffers) != len(groups):
        return optimizer.step
    if any(not group.get("fused") or any(group.get(name) for name in _PLAIN_OPTIONS) for group in groups):
        return optimizer.step
    return FusedStep(optimizer)


class FusedStep:
    """A direct call of torch's fused kernel on flat parameters.

    Args:
        optimizer: an ``Adam`` or ``AdamW``, one parameter a group.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._kernel = _KERNELS[type(optimizer)]
        self._rates: list[Tensor] = []

    @property
    def has_hooks(self) -> bool:
        """Whether someone listens to the optimizer's steps, which then have to be its own."""
        return any(getattr(self._optimizer, name, None) for name in _HOOKS)

    def prepare(self) -> list[Tensor]:
        """Make the state with which the optimizer begins, where it has none; all tensors that a step changes."""
        changed: list[Tensor] = []
        for group in self._optimizer.param_groups:
            parameter = group["params"][0]
            state = self._optimizer.state[parameter]
            if not state:
                _start(state, parameter)
            changed += [parameter, state["step"], state["exp_avg"], state["exp_avg_sq"]]
        return changed

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

    @torch.no_grad()
    def __call__(self, found_inf: Tensor | None = None) -> None:
        """Step.

        Args:
            found_inf: a 0-dim float32 tensor on the parameters' device; where it is 1, nothing changes, and nobody
                waits to find out.
        """
        if self.has_hooks and found_inf is None:
            self._optimizer.step()
            return
        for group in self._optimizer.param_groups:
            parameter = group["params"][0]
            state = self._optimizer.state[parameter]
            if not state:
                _start(state, parameter)
            beta1, beta2 = group["betas"]
            state["step"] += 1
            self._kernel(
                [parameter],
                [parameter.grad],
                [state["exp_avg"]],
                [state["exp_avg_sq"]],
                [],
                [state["step"]],
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
                state["step"] -= found_inf


def _start(state: dict[str, Any], parameter: Tensor) -> None:
    """The state torch's own Adam begins with."""
    state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
    state["exp_avg"] = torch.zeros_like(parameter)
    state["exp_avg_sq"] = torch.zeros_like(parameter)


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
