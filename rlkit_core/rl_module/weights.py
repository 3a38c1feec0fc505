"""Weights on their way from a learner to the runners."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from rlkit_core.rl_module.members import own_names
from rlkit_core.rl_module.multi import MultiRLModule
from rlkit_core.rl_module.torch_module import TorchRLModule

#: Numbers up to which weights are copied by numpy.
SMALL: Final = 65_536
_Array = np.ndarray[Any, Any]
_NUMPY: Final = frozenset((torch.float32, torch.float64, torch.int64, torch.bool))


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
        self._at: list[int] = []
        self._arrays: list[tuple[_Array, _Array]] | None = None
        if own_names(target):
            return
        self._pairs = []
        for module_id, member in target.items():
            pairs = _pairs(source.get(module_id, None), member)
            if pairs is None:
                self._pairs = None
                return
            self._pairs += pairs

    def _now(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return dict(self._source.items()), dict(self._target.items())

    def joins(self, source: MultiRLModule, target: MultiRLModule) -> bool:
        """Whether it was made for these modules, with the members that they have now."""
        return source is self._source and target is self._target and self._now() == self._members

    def copy(self) -> bool:
        """Copy the weights; False, and nothing happened, where modules have states of their own making."""
        if self._pairs is None:
            return False
        targets = [holder[name] for _, (holder, name) in self._pairs]
        sources = [holder[name] for (holder, name), _ in self._pairs]
        at = [tensor.data_ptr() for tensor in (*targets, *sources)]
        if at != self._at:
            small = sum(tensor.numel() for tensor in targets) <= SMALL
            self._arrays = _as_arrays(targets, sources) if small else None
            self._at = at
        if self._arrays is not None:
            for to, array in self._arrays:
                to[...] = array
        elif targets:  # a module may have no weights
            with torch.no_grad():
                torch._foreach_copy_(targets, sources)
        return True


def _as_arrays(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> list[tuple[_Array, _Array]] | None:
    """Pairs of numpy views, with which little is copied quicker than by torch; None where a tensor has none."""
    tensors = (*targets, *sources)
    if any(x.device.type != "cpu" or x.layout != torch.strided or x.dtype not in _NUMPY for x in tensors):
        return None
    return [(to.detach().numpy(), x.detach().numpy()) for to, x in zip(targets, sources, strict=True)]


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
