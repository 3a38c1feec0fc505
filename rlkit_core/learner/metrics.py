"""Metrics of a learner: logged as tensors while it updates, read once at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from rlkit_core.columns import ALL_MODULES
from rlkit_core.from_rllib import as_kind

Key = tuple[str, ...]
Reduce = Literal["mean", "sum", "min", "max", "last", "lifetime_sum"]
BlockKeys = tuple[tuple[Key, Reduce], ...]
_KINDS = frozenset(get_args(Reduce))


class Metrics:
    """Collects values under nested keys and reduces each to one number per update.

    Logging a tensor reads nothing from the device: all tensors of an update are brought to the host in one copy by
    :meth:`reduce`.

    Attributes:
        kinds: how each metric is reduced, of all that were ever logged.
    """

    def __init__(self) -> None:
        self._values: dict[Key, list[Any]] = {}
        self._how: dict[Key, Reduce] = {}
        self._lifetime: dict[Key, float] = {}
        self._blocks: dict[int, tuple[BlockKeys, list[Any]]] = {}
        self._has_tensors = False
        self.kinds: dict[Key, Reduce] = {}

    def log_value(
        self, key: str | tuple[str, ...], value: object, *, reduce: Reduce | None = "mean", **rllib: object
    ) -> None:
        """Log one value.

        Args:
            key: a name, or a path such as ``(module_id, "policy_loss")``.
            value: a number or a 0-dim tensor; a tensor is detached.
            reduce: how the values of one update become one number: ``mean``, ``sum``, ``min``, ``max``, ``last``, or
                ``lifetime_sum`` (summed over all updates, kept in checkpoints).
            rllib: arguments that RLlib's has beside these (``window``, ``ema_coeff``, ``clear_on_reduce``, ...), as far
                as they mean something for one update: ``window=1`` is ``last``, a ``sum`` that is not cleared
                ``lifetime_sum``. Others are warned of, once each, and change nothing.

        Raises:
            TypeError: an argument that neither has.
        """
        path = (key,) if isinstance(key, str) else tuple(key)
        kind: Reduce = as_kind(reduce, rllib) if rllib or reduce is None or reduce not in _KINDS else reduce
        if isinstance(value, Tensor):
            self._has_tensors = True
            if value.requires_grad:
                value = value.detach()
        if self._blocks and kind == "last":
            self._unpack()
        self._list(path, kind).append(value)

    def _list(self, path: Key, reduce: Reduce) -> list[Any]:
        """What was logged under a key in this update; a 1-dim tensor stands for as many values."""
        values = self._values.get(path)
        if values is None:
            self._values[path] = values = []
            self._how[path] = self.kinds[path] = reduce
        return values

    def log_block(self, keys: BlockKeys, values: list[float] | Tensor) -> None:
        """Log one value for each of several keys, as a replayed step does: all at once, taken apart when read.

        Args:
            keys: ``((path, reduce), ...)``; the same object every time.
            values: numbers, or a tensor ``[len(keys)]`` of any device, not to be changed later.
        """
        block = self._blocks.get(id(keys))
        if block is None:
            self._blocks[id(keys)] = block = (keys, [])
        block[1].append(values)

    def _unpack(self) -> None:
        """Bring logged blocks to the keys' lists."""
        if not self._blocks:
            return
        blocks, self._blocks = self._blocks, {}
        for keys, logged in blocks.values():
            if isinstance(logged[0], Tensor):
                self._has_tensors = True
                columns = [[column] for column in torch.stack(logged, 1).unbind()]
            else:
                columns = zip(*logged, strict=True)  # type: ignore[assignment]
            for (path, reduce), column in zip(keys, columns, strict=True):
                self._list(path, reduce).extend(column)

    def log_dict(
        self,
        values: Mapping[str, Any],
        *,
        key: str | tuple[str, ...] = (),
        reduce: Reduce | None = "mean",
        **rllib: object,
    ) -> None:
        """Log several values below ``key``, each as :meth:`log_value` does."""
        path = (key,) if isinstance(key, str) else tuple(key)
        if rllib or reduce not in _KINDS:
            reduce = as_kind(reduce, rllib)
        for name, value in values.items():
            self.log_value((*path, name), value, reduce=reduce)

    def peek(self, key: str | tuple[str, ...], default: object = None) -> Any:
        """The reduced value of ``key`` as of now, without clearing it; waits for the device.

        Raises:
            KeyError: nothing was logged under it and no default is given.
        """
        path = (key,) if isinstance(key, str) else tuple(key)
        self._unpack()
        if path in self._values:
            return self._combine(path, _read([self._values[path]])[0], commit=False)
        if path in self._lifetime:
            return self._lifetime[path]
        if default is not None:
            return default
        raise KeyError(f"no metric {path!r}; logged are {sorted(self._values)}")

    def reduce(self) -> dict[str, Any]:
        """Nested dict of all metrics as Python floats; clears everything but lifetime sums."""
        self._unpack()
        result: dict[str, Any] = {}
        logged = list(self._values.values())
        for path, numbers in zip(self._values, _read(logged) if self._has_tensors else logged, strict=True):
            if len(numbers) == 1 and self._how[path] != "lifetime_sum":
                value = float(numbers[0])
            else:
                value = float(self._combine(path, numbers, commit=True))
            if len(path) == 2:
                within = result.get(path[0])
                if within is None:
                    result[path[0]] = within = {}
                within[path[1]] = value
            else:
                put(result, path, value)
        for path, total in self._lifetime.items():
            put(result, path, total)
        self._values.clear()
        self._how.clear()
        self._has_tensors = False
        return result

    def drop(self, key: str) -> None:
        """Forget everything below a top-level key (a removed module)."""
        self._unpack()
        for store in (self._values, self._how, self._lifetime, self.kinds):
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
        self.kinds.update(dict.fromkeys(self._lifetime, "lifetime_sum"))


def _read(logged: list[list[Any]]) -> list[list[float]]:
    """Logged values as numbers, in one transfer for all of one kind of tensor."""
    tensors: dict[Any, list[Tensor]] = {}
    for values in logged:
        for value in values:
            if isinstance(value, Tensor):
                tensors.setdefault((value.device, value.dtype, value.dim()), []).append(value)
    numbers = {kind: iter(_numbers(same)) for kind, same in tensors.items()}
    result = []
    for values in logged:
        if set(map(type, values)) == {float}:
            result.append(values)
            continue
        read: list[float] = []
        for value in values:
            if not isinstance(value, Tensor):
                read.append(float(value))
                continue
            of_kind = numbers[value.device, value.dtype, value.dim()]
            read.extend(islice(of_kind, value.numel()))
        result.append(read)
    return result


def _numbers(tensors: list[Tensor]) -> list[float]:
    """The elements of tensors of one dtype, device and number of axes, one after the other."""
    together = torch.stack(tensors) if tensors[0].dim() == 0 else torch.cat([t.reshape(-1) for t in tensors])
    return [float(number) for number in together.tolist()]


def put(nested: dict[str, Any], path: Key, value: float) -> None:
    """Set a value in nested dicts, which are made where they are missing."""
    for part in path[:-1]:
        nested = nested.setdefault(part, {})
    nested[path[-1]] = value


def count_keys(module_ids: Iterable[str], of_all: Iterable[str]) -> BlockKeys:
    """Keys of what an update counts: of each module steps trained, these over all updates, and ``weights_seq_no``; of
    all modules together the two counts of steps, and ``of_all``, which stays the same."""
    steps, lifetime = "num_module_steps_trained", "num_module_steps_trained_lifetime"
    keys: list[tuple[Key, Reduce]] = []
    for mid in module_ids:
        keys += [((mid, steps), "sum"), ((mid, lifetime), "lifetime_sum"), ((mid, "weights_seq_no"), "last")]
    keys += [((ALL_MODULES, steps), "sum"), ((ALL_MODULES, lifetime), "lifetime_sum")]
    keys += [((ALL_MODULES, name), "last") for name in of_all]
    return tuple(keys)
