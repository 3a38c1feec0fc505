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

from rlkit_core.learner.flat import FlatParameters

_KERNELS: dict[type, Any] = {
    torch.optim.Adam: getattr(torch, "_fused_adam_", None),
    torch.optim.AdamW: getattr(torch, "_fused_adamw_", None),
}
_PLAIN_OPTIONS = ("amsgrad", "maximize", "capturable", "differentiable")
_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


def fused_step(optimizer: torch.optim.Optimizer, buffers: list[FlatParameters | None]) -> Callable[[], Any]:
    """The fastest function that does what ``optimizer.step()`` does.

    Args:
        optimizer: any torch optimizer.
        buffers: one flat buffer per parameter group, or None where a group has none.

    Returns:
        A direct call of torch's fused kernel where the optimizer is an ``Adam`` or ``AdamW`` with ``fused=True``, plain
        options, flat parameters and no step hooks; otherwise ``optimizer.step`` itself.
    """
    kernel = _KERNELS.get(type(optimizer))
    groups = optimizer.param_groups
    if kernel is None or any(buffer is None for buffer in buffers) or len(buffers) != len(groups):
        return optimizer.step
    if any(not group.get("fused") or any(group.get(name) for name in _PLAIN_OPTIONS) for group in groups):
        return optimizer.step

    def step() -> None:
        if any(getattr(optimizer, name, None) for name in _HOOKS):
            optimizer.step()
            return
        for group in groups:
            parameter = group["params"][0]
            state = optimizer.state[parameter]
            if not state:
                _start(state, parameter)
            beta1, beta2 = group["betas"]
            state["step"] += 1
            kernel(
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
            )

    return torch.no_grad()(step)


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
