"""Layers of encoder and head as one list, by torch or, on a handful of rows, by numpy.

Acting at a few rows takes most of its time between the layers, not in them: at one row a layer of 64 units is a
microsecond of arithmetic, and calling torch for it takes several times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from rlkit_core.models.actor_critic import ActorCriticEncoder
from rlkit_core.models.heads import FreeLogStdMLPHead, MLPHead
from rlkit_core.models.initializers import get_activation
from rlkit_core.models.mlp import MLPEncoder, Plan, run_plan
from rlkit_core.models.normalizer import NormalizedEncoder, ObservationNormalizer

Array = np.ndarray[Any, Any]
Function = tuple[Callable[..., Any], tuple[Any, ...]]
"""An activation: a function of numpy's, and what it takes beside the rows."""
Layer = tuple[Array, Array, "Function | None"]
#: Rows up to which numpy is the quicker.
SMALL_ROWS = 16
#: Weights of a layer up to which it is.
SMALL_WEIGHTS = 65_536


class ActingPlan:
    """The way from observation to action inputs, where encoder and head are plain MLPs; made by :meth:`of`.

    Attributes:
        encoder, head: what it stands for.
        normalizer: of observations, before the first layer; or None.
        layers: of encoder and head.
        output_size: how many action inputs there are.
    """

    def __init__(
        self, encoder: object, head: MLPHead | FreeLogStdMLPHead, actor: MLPEncoder, wrapper: NormalizedEncoder | None
    ) -> None:
        self.encoder, self.head = encoder, head
        self.normalizer: ObservationNormalizer | None = None if wrapper is None else wrapper.normalizer
        self.layers: Plan = (*actor.plan, *head.plan)
        self.output_size: int = head.config.output_dims[0]
        parts = (encoder, wrapper, self.normalizer, actor, head)
        self._parts: tuple[Any, ...] = tuple({id(part): part for part in parts if part is not None}.values())

    @classmethod
    def of(cls, encoder: object, head: object) -> ActingPlan | None:
        """The plan, or None where a part is of another kind; ``encoder`` may be an actor's alone, too."""
        actor, wrapper = encoder, None
        if type(actor) is ActorCriticEncoder:
            actor = actor.encoder if actor.shares_layers else actor.actor_encoder
        if type(actor) is NormalizedEncoder and actor.normalizer.is_plain:
            wrapper, actor = actor, actor.encoder
        if not isinstance(actor, MLPEncoder) or not isinstance(head, MLPHead | FreeLogStdMLPHead):
            return None
        plain = type(actor) is MLPEncoder and type(head) in (MLPHead, FreeLogStdMLPHead) and actor.is_plain
        return cls(encoder, head, actor, wrapper) if plain else None

    @property
    def is_bare(self) -> bool:
        """Whether its layers are all there is to it."""
        return self.normalizer is None and bool(self.head.is_plain)

    def holds(self, encoder: object, head: object) -> bool:
        """Whether it still stands for these modules: none was replaced, and nobody listens to them by a hook."""
        if encoder is not self.encoder or head is not self.head:
            return False
        for part in self._parts:  # a loop: this is asked at every step  # noqa: SIM110
            if part._forward_hooks or part._forward_pre_hooks:
                return False
        return True

    def __call__(self, obs: torch.Tensor) -> torch.Tensor:
        """Map float32 observations ``(..., inputs)`` to action inputs ``(..., outputs)``."""
        out = run_plan(self.layers, obs if self.normalizer is None else self.normalizer(obs))
        finished: torch.Tensor = self.head.finish(out)
        return finished


class SmallPlan:
    """Runs an acting plan of layers without norms, with ReLU, tanh or no activation, by numpy.

    It computes what the plan does, to float precision: sums are added up in another order.
    """

    def __init__(self, plan: ActingPlan, functions: list[Function | None]) -> None:
        self._plan, self._functions = plan, functions
        self.output_size = plan.output_size
        self._holders = [layer._parameters for layer, _, _ in plan.layers]
        self._made: list[Layer] = []
        self._at: list[int] = []

    @classmethod
    def of(cls, plan: ActingPlan | None) -> SmallPlan | None:
        """The plan on numpy, or None where a layer is large, or of a kind that numpy has not."""
        functions = []
        for layer, norm, activation in () if plan is None else plan.layers:
            known = [function for torchs, function in _FUNCTIONS if torchs is activation]
            if norm is not None or not known or type(layer) is not nn.Linear or layer.bias is None:
                return None
            weight = layer.weight
            if weight.dtype is not torch.float32 or weight.device.type != "cpu" or weight.numel() > SMALL_WEIGHTS:
                return None
            functions.append(known[0])
        return None if plan is None or not functions else cls(plan, functions)

    def __call__(self, x: Array) -> Array:
        """Map ``(B, inputs)`` float32 or float64 to ``(B, outputs)`` float32, a new array."""
        return self.runner(len(x))(x)

    def runner(self, num_rows: int) -> Callable[[Array], Array]:
        """A function of ``(num_rows, inputs)`` for many calls, while parameters and statistics are as they are now.

        With several rows it computes with copies of them. Its result is a new array each time.
        """
        at = [parameter.data_ptr() for holder in self._holders for parameter in holder.values()]  # type: ignore[union-attr]
        if at != self._at:  # an optimizer has put the parameters into one buffer, say
            layers = [layer for layer, _, _ in self._plan.layers]
            self._made = [
                (layer.weight.detach().numpy(), layer.bias.detach().numpy(), function)
                for layer, function in zip(layers, self._functions, strict=True)
            ]
            self._at = at
        run = self._one_row if num_rows == 1 else _RowsRunner(self._made)
        plan = self._plan
        if plan.is_bare:
            return run
        finish = plan.head.finish_rows()
        if plan.normalizer is None:
            return lambda x: finish(run(x))
        normalise = plan.normalizer.on_rows()
        return lambda x: finish(run(normalise(x)))

    def _one_row(self, x: Array) -> Array:
        row: Array = x[0]
        if row.dtype != np.float32:
            row = row.astype(np.float32)
        for weight, bias, function in self._made:
            row = weight.dot(row)
            row += bias
            if function is not None:
                function[0](row, *function[1], out=row)
        return row[None]


class _RowsRunner:
    """Several rows: weights lie as the product wants them."""

    def __init__(self, layers: list[Layer]) -> None:
        self._layers = [(weight.T.copy(), bias, function) for weight, bias, function in layers]

    def __call__(self, x: Array) -> Array:
        if x.dtype != np.float32:
            x = x.astype(np.float32)
        for weight, bias, function in self._layers:
            x = np.dot(x, weight)
            x += bias
            if function is not None:
                function[0](x, *function[1], out=x)
        return x


_FUNCTIONS: list[tuple[Any, Function | None]] = [
    (None, None),
    (get_activation("relu"), (np.maximum, (np.float32(0.0),))),
    (get_activation("tanh"), (np.tanh, ())),
]
