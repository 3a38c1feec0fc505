"""MLP layers on a handful of rows, by numpy on the very memory of the weights.

At one row a layer of 64 units is a microsecond of arithmetic, and calling torch for it takes several times as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from rlkit_core.models.initializers import get_activation
from rlkit_core.models.mlp import Plan

Array = np.ndarray[Any, Any]
#: Rows up to which numpy is the quicker.
SMALL_ROWS = 16
#: Weights of a layer up to which it is.
SMALL_WEIGHTS = 65_536


class SmallPlan:
    """Runs a plan of linear layers without norms, with ReLU, tanh or no activation.

    It computes what ``run_plan`` does, to float precision: sums are added up in another order.
    """

    def __init__(self, layers: list[tuple[nn.Linear, Any]]) -> None:
        self._layers = layers
        self._holders = [layer._parameters for layer, _ in layers]
        self._made: list[tuple[Array, Array | None, Any]] = []
        self._at: list[int] = []

    @classmethod
    def of(cls, plan: Plan) -> SmallPlan | None:
        """The plan on numpy, or None where a layer is large, or of a kind that numpy has not."""
        layers = []
        for layer, norm, activation in plan:
            known = [function for torchs, function in _FUNCTIONS if torchs is activation]
            if norm is not None or not known or type(layer) is not nn.Linear or layer.bias is None:
                return None
            weight = layer.weight
            if weight.dtype is not torch.float32 or weight.device.type != "cpu" or weight.numel() > SMALL_WEIGHTS:
                return None
            layers.append((layer, known[0]))
        return cls(layers)

    def __call__(self, x: Array) -> Array:
        """Map ``(B, inputs)`` float32 to ``(B, outputs)``, a new array."""
        self.find_weights()
        return self.run(x)

    def find_weights(self) -> None:
        """Look where the weights are; :meth:`run` computes with those that are there."""
        at = [holder["weight"].data_ptr() for holder in self._holders]  # type: ignore[union-attr]
        if at != self._at:  # an optimizer has put the parameters into one buffer, say
            self._made = [(layer.weight.detach().numpy(), layer.bias.detach().numpy(), f) for layer, f in self._layers]
            self._at = at

    def run(self, x: Array) -> Array:
        """Map ``(B, inputs)`` to ``(B, outputs)``; for who has called :meth:`find_weights` since weights moved."""
        if len(x) == 1:
            x = x[0]
            for weight, bias, function in self._made:
                x = weight.dot(x)
                x += bias
                if function is not None:
                    function(x, out=x)
            return x[None]
        for weight, bias, function in self._made:
            x = x @ weight.T
            x += bias
            if function is not None:
                function(x, out=x)
        return x


_zero = np.float32(0.0)


def _relu(x: Array, out: Array) -> None:
    np.maximum(x, _zero, out=out)


_FUNCTIONS: list[tuple[Any, Any]] = [
    (None, None),
    (get_activation("relu"), _relu),
    (get_activation("tanh"), np.tanh),
]
