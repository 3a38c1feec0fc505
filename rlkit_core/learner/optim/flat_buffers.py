"""Flat parameter and gradient buffers.

Parameters of one optimizer become views of one buffer, and their gradients views of another. Zeroing, norms, clipping
and the optimizer's step then are one operation each, however many layers there are. The maths is unchanged: optimizers
that work element by element do not see the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_ALIGNMENT = 64  # bytes
#: Optimizers whose update of an element depends on that element alone.
ELEMENTWISE = (
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.SGD,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
)


class FlatParameters:
    """One buffer for several parameters and one for their gradients.

    Args:
        parameters: unique trainable parameters of one dtype on one device. Their ``data`` becomes views of
            :attr:`parameter`, their ``grad`` views of :attr:`gradient`.

    Attributes:
        parameter: all values, ``[total]``; a fused step changes them at once. Each parameter begins at a multiple of 64
            bytes, as tensors of their own do: matrix products then give the same to the last bit. What is between is
            zero.
        gradient: all gradients, ``[total]``; also ``parameter.grad``.
        gradients: the gradient of each parameter, a view.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        first = self.parameters[0]
        self._starts, total = aligned_starts(self.parameters)
        values = torch.zeros(total, dtype=first.dtype, device=first.device)
        self.gradient: Tensor = torch.zeros_like(values)
        self.gradients: list[Tensor] = []
        gradients = self.split(self.gradient)
        for parameter, own, gradient in zip(self.parameters, self.split(values), gradients, strict=True):
            own.copy_(parameter.detach())
            parameter.data = own
            parameter.grad = gradient
            self.gradients.append(gradient)
        self.parameter = nn.Parameter(values)
        self.parameter.grad = self.gradient

    def zero_grad(self) -> None:
        """Set all gradients to zero, and put views back where someone replaced a parameter's ``grad``."""
        self.gradient.zero_()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            if parameter.grad is not gradient:
                parameter.grad = gradient

    def collect(self) -> None:
        """Copy gradients that autograd put elsewhere into the buffer, and put the views back."""
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            if parameter.grad is gradient:
                continue
            if parameter.grad is None:
                gradient.zero_()
            else:
                gradient.copy_(parameter.grad)
            parameter.grad = gradient

    def split(self, flat: Tensor) -> list[Tensor]:
        """Cut a ``[total]`` tensor (an optimizer's moment, say) into the parameters' shapes, as views."""
        return [
            flat[start : start + p.numel()].view(p.shape)
            for start, p in zip(self._starts, self.parameters, strict=True)
        ]

    @staticmethod
    def fits(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> bool:
        """Whether a parameter group of ``optimizer`` can be flattened without changing its maths."""
        parameters = group["params"]
        if type(optimizer) not in ELEMENTWISE or not parameters or optimizer.state:
            return False
        first = parameters[0]
        return all(
            p.requires_grad and p.dtype == first.dtype and p.device == first.device and p.layout == torch.strided
            for p in parameters
        )


def aligned_starts(parameters: Sequence[Tensor]) -> tuple[list[int], int]:
    """Where parameters begin in a flat buffer, and its length; see :attr:`FlatParameters.parameter`."""
    starts, total = [], 0
    for parameter in parameters:
        step = max(1, _ALIGNMENT // parameter.element_size())
        starts.append(total)
        total += -(-parameter.numel() // step) * step
    return starts, total
