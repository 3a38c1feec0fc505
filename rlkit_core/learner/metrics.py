"""Metrics of a learner: logged as tensors while it updates, read once at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

Key = tuple[str, ...]
Reduce = Literal["mean", "sum", "min", "max", "last", "lifetime_sum"]


class Metrics:
    """Collects values under nested keys and reduces each to one number per update.

    Logging a tensor reads nothing from the device: all tensors of an update are brought to the host in one copy by
    :meth:`reduce`.
    """

    def __init__(self) -> None:
        self._values: dict[Key, list[Any]] = {}
        self._how: dict[Key, Reduce] = {}
        self._lifetime: dict[Key, float] = {}

    def log_value(self, key: str | tuple[str, ...], value: Any, *, reduce: Reduce = "mean") -> None:
        """Log one value.

        Args:
            key: a name, or a path such as ``(module_id, "policy_loss")``.
            value: a number or a 0-dim tensor; a tensor is detached.
            reduce: how the values of one update become one number: ``mean``, ``sum``, ``min``, ``max``, ``last``, or
                ``lifetime_sum`` (summed over all updates, kept in checkpoints).
        """
        path = (key,) if isinstance(key, str) else tuple(key)
        if type(value) is Tensor and value.requires_grad:
            value = value.detach()
        values = self._values.get(path)
        if values is None:
            self._values[path] = values = []
            self._how[path] = reduce
        values.append(value)

    def log_dict(
        self, values: Mapping[str, Any], *, key: str | tuple[str, ...] = (), reduce: Reduce = "mean"
    ) -> None:
        """Log several values below ``key``."""
        path = (key,) if isinstance(key, str) else tuple(key)
        for name, value in values.items():
            self.log_value((*path, name), value, reduce=reduce)

    def peek(self, key: str | tuple[str, ...], default: Any = None) -> Any:
        """The reduced value of ``key`` as of now, without clearing it; waits for the device.

        Raises:
            KeyError: nothing was logged under it and no default is given.
        """
        path = (key,) if isinstance(key, str) else tuple(key)
        if path in self._values:
            values = [float(v) for v in self._values[path]]
            return self._combine(path, values, commit=False)
        if path in self._lifetime:
            return self._lifetime[path]
        if default is not None:
            return default
        raise KeyError(f"no metric {path!r}; logged are {sorted(self._values)}")

    def reduce(self) -> dict[str, Any]:
        """Nested dict of all metrics as Python floats; clears everything but lifetime sums."""
        tensors = [v for values in self._values.values() for v in values if isinstance(v, Tensor)]
        numbers = iter(_read(tensors))
        result: dict[str, Any] = {}
        for path, values in self._values.items():
            read = [next(numbers) if isinstance(v, Tensor) else float(v) for v in values]
            _put(result, path, self._combine(path, read, commit=True))
        for path, total in self._lifetime.items():
            _put(result, path, total)
        self._values.clear()
        self._how.clear()
        return result

    def drop(self, key: str) -> None:
        """Forget everything below a top-level key (a removed module)."""
        for store in (self._values, self._how, self._lifetime):
            for path in [p for p in store if p[0] == key]:
                del store[path]

    def _combine(self, path: Key, values: list[float], *, commit: bool) -> float:
        how = self._how[path]
        if how == "lifetime_sum":
            total = self._lifetime.get(path, 0.0) + sum(values)
            if commit:
                self._lifetime[path] = total
            return total
        if how == "mean":
            return sum(values) / len(values)
        if how == "last":
            return values[-1]
        return {"sum": sum, "min": min, "max": max}[how](values)  # type: ignore[operator,no-any-return]

    def get_state(self) -> dict[str, float]:
        """Lifetime sums, their paths joined by a slash."""
        return {"/".join(path): total for path, total in self._lifetime.items()}

    def set_state(self, state: Mapping[str, float]) -> None:
        """Continue lifetime sums from :meth:`get_state`."""
        self._lifetime = {tuple(path.split("/")): float(total) for path, total in state.items()}


def _read(tensors: list[Tensor]) -> list[float]:
    """All values in one transfer per device."""
    if not tensors:
        return []
    if all(t.dtype == torch.float32 and t.device == tensors[0].device and t.dim() == 0 for t in tensors):
        return torch.stack(tensors).tolist()
    return torch.stack([t.reshape(()).to("cpu", torch.float64) for t in tensors]).tolist()


def _put(nested: dict[str, Any], path: Key, value: float) -> None:
    for part in path[:-1]:
        nested = nested.setdefault(part, {})
    nested[path[-1]] = value
