"""Weights on their way from a learner to the runners."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from rlkit_core.rl_module.members import own_names
from rlkit_core.rl_module.multi import MultiRLModule
from rlkit_core.rl_module.torch_module import TorchRLModule


@frozen(eq=False)
class Weights(Mapping[str, Any]):
    """Weights with the number of the update that made them; the mapping is :attr:`state`.

    Attributes:
        version: the learner's ``weights_seq_no``; it grows by one with every update.
        state: ``{module id: module state}``, the inference-only part where modules know one.
    """

    version: int
    state: dict[str, Any]

    def __getitem__(self, module_id: str) -> Any:
        return self.state[module_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.state)

    def __len__(self) -> int:
        return len(self.state)


class WeightLink:
    """The way of weights from modules that learn to those that act, where both are in this process.

    What ``set_state(get_state(inference_only=True))`` does, as one operation over pairs of tensors that are found once.
    """

    def __init__(self, source: MultiRLModule, target: MultiRLModule) -> None:
        self._source, self._target = source, target
        self._members = self._now()
        self._pairs: list[tuple[_Place, _Place]] | None = None
        if own_names(target):
            return
        self._pairs = []
        for module_id, member in target.items():
            pairs = _pairs(source.get(module_id, None), member)
            if pairs is None:
                self._pairs = None
                return
            self._pairs += pairs

    def _now(self) -> list[Any]:
        return [*self._source.values(), None, *self._target.values()]

    def joins(self, source: MultiRLModule, target: MultiRLModule) -> bool:
        """Whether it was made for these modules, with the members that they have now."""
        if source is not self._source or target is not self._target:
            return False
        now = self._now()
        return len(now) == len(self._members) and all(map(operator.is_, now, self._members))

    def copy(self) -> bool:
        """Copy the weights; False, and nothing happened, where modules have states of their own making."""
        if self._pairs is None:
            return False
        targets = [holder[name] for _, (holder, name) in self._pairs]
        sources = [holder[name] for (holder, name), _ in self._pairs]
        if targets:  # a module may have no weights
            with torch.no_grad():
                torch._foreach_copy_(targets, sources)
        return True


_Place = tuple[dict[str, Any], str]
"""Where a tensor is found: a module's ``_parameters`` or ``_buffers``, and its name there."""


def _pairs(source: Any, target: Any) -> list[tuple[_Place, _Place]] | None:
    """Pairs of places for all that is in the state of ``target``; None where that is not simply its tensors."""
    for module in (source, target):
        if not isinstance(module, TorchRLModule):
            return None
        if any(getattr(type(module), name) is not getattr(TorchRLModule, name) for name in ("get_state", "set_state")):
            return None
    there, here = dict(_places(source)), dict(_places(target))
    for name in target.state_dict():
        if name not in there or name not in here or _at(there[name]).shape != _at(here[name]).shape:
            return None
    return [(there[name], place) for name, place in here.items() if name in there]


def _places(module: torch.nn.Module) -> Iterator[tuple[str, _Place]]:
    for prefix, part in module.named_modules(remove_duplicate=False):
        for holder in (part._parameters, part._buffers):
            for name, tensor in holder.items():
                if tensor is not None:
                    yield (f"{prefix}.{name}" if prefix else name), (holder, name)


def _at(place: _Place) -> Tensor:
    holder, name = place
    tensor: Tensor = holder[name]
    return tensor
