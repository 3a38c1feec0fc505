"""All that an object keeps while it is alive, by path: what a checkpoint has forgotten is a difference here."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

SKIPPED = (type, FunctionType, MethodType, BuiltinFunctionType, ModuleType, torch.device, torch.dtype)
OWN = ("rlkit_", "exact_")


def live_state(root: object, skip: Any) -> dict[str, Any]:
    """``{path: value}`` of all numbers, texts, arrays and generators that are reached from an object by attribute.

    Args:
        root: the object.
        skip: of a path, whether nothing at it and below it counts.
    """
    found: dict[str, Any] = {}
    seen: dict[int, object] = {}  # objects are kept, so that no id is used twice
    todo: deque[tuple[str, object]] = deque([("", root)])
    while todo:
        path, value = todo.popleft()
        if skip(path):
            continue
        if value is None or isinstance(value, (bool, int, float, str, bytes, np.generic)):
            found[path] = repr(value)
        elif isinstance(value, torch.Tensor):
            found[path] = _digest(value.detach().cpu().contiguous().numpy()), str(value.dtype)
        elif isinstance(value, np.ndarray) and value.dtype != object:
            found[path] = _digest(value), str(value.dtype)
        elif isinstance(value, torch.Generator):
            found[path] = _digest(value.get_state().numpy())
        elif isinstance(value, np.random.Generator):
            found[path] = repr(value.bit_generator.state)
        elif not isinstance(value, SKIPPED) and id(value) not in seen:
            seen[id(value)] = value
            todo.extend((f"{path}/{key}", part) for key, part in _parts(value))
    return found


def _digest(array: np.ndarray[Any, Any]) -> str:
    return f"{array.shape} {hashlib.sha256(array.tobytes()).hexdigest()[:12]}"


def _parts(value: object) -> Iterator[tuple[object, object]]:
    if isinstance(value, Mapping):
        yield "#", len(value)
        yield from value.items()
    elif isinstance(value, (list, tuple, deque)):
        yield "#", len(value)
        yield from enumerate(value)
    elif isinstance(value, (set, frozenset)):
        yield "#", repr(sorted(map(repr, value)))
    elif isinstance(value, (nn.Module, torch.optim.Optimizer)) or type(value).__module__.startswith(OWN):
        yield from vars(value).items() if hasattr(value, "__dict__") else ()
        for kind in type(value).__mro__:
            slots = vars(kind).get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                    yield name, getattr(value, name)
