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
        parameter: all values, ``[total]``; what the optimizer steps.
        gradient: all gradients, ``[total]``; also ``parameter.grad``.
        gradients: the gradient of each parameter, a view.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        first = self.parameters[0]
        total = sum(p.numel() for p in self.parameters)
        values = torch.empty(total, dtype=first.dtype, device=first.device)
        self.gradient: Tensor = torch.zeros_like(values)
        self.gradients: list[Tensor] = []
        start = 0
        for parameter in self.parameters:
            stop = start + parameter.numel()
            values[start:stop].copy_(parameter.detach().reshape(-1))
            parameter.data = values[start:stop].view(parameter.shape)
            gradient = self.gradient[start:stop].view(parameter.shape)
            parameter.grad = gradient
            self.gradients.append(gradient)
            start = stop
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
        parts = torch.split(flat, [p.numel() for p in self.parameters])
        return [part.view(p.shape) for part, p in zip(parts, self.parameters, strict=True)]

    @staticmethod
    def fits(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> bool:
        """Whether a parameter group of ``optimizer`` can be flattened without changing its maths."""
        parameters = group["params"]
        if type(optimizer) not in ELEMENTWISE or len(parameters) < 2 or optimizer.state:
            return False
        first = parameters[0]
        return all(
            p.requires_grad
            and p.dtype == first.dtype
            and p.device == first.device
            and p.layout == torch.strided
            for p in parameters
        )
