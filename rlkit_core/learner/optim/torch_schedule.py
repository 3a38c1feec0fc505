"""Torch's learning-rate schedulers, stepped once per update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from rlkit_core.errors import ConfigError


def is_torch_schedule(value: object) -> bool:
    """Whether ``value`` is a scheduler, a class or function that makes one from an optimizer, or a list of these."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(is_torch_schedule(item) for item in value)
    return isinstance(value, LRScheduler) or callable(value)


class TorchSchedules:
    """Schedulers of one optimizer; where there are several, each continues from what the one before it set.

    Args:
        optimizer: whose learning rate they change.
        schedules: a scheduler of that optimizer, a class or function ``(optimizer) -> scheduler``, or a list of these.

    Raises:
        ConfigError: one of them is no scheduler, or belongs to another optimizer.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedules: Any) -> None:
        given = list(schedules) if isinstance(schedules, (list, tuple)) else [schedules]
        self._optimizer = optimizer
        self._schedulers = [self._made(item) for item in given]

    def _made(self, item: Any) -> Any:
        scheduler = item if isinstance(item, LRScheduler) else item(self._optimizer)
        if not isinstance(scheduler, LRScheduler):
            raise ConfigError(
                f"learning-rate schedule {item!r}: expected a torch.optim.lr_scheduler or a function "
                f"(optimizer) -> scheduler, it made a {type(scheduler).__name__}"
            )
        if scheduler.optimizer is not self._optimizer:
            raise ConfigError(
                f"learning-rate schedule {type(scheduler).__name__} belongs to another optimizer; make it from the "
                "one that is registered"
            )
        return scheduler

    @property
    def needs_loss(self) -> bool:
        """Whether one of them follows the loss (``ReduceLROnPlateau``)."""
        return any(isinstance(scheduler, ReduceLROnPlateau) for scheduler in self._schedulers)

    def step(self, loss: float | None = None) -> None:
        """Move on by one update."""
        # Fused steps do not go through optimizer.step, by which torch checks that one came before.
        self._optimizer._opt_called = True  # type: ignore[attr-defined]
        for scheduler in self._schedulers:
            if isinstance(scheduler, ReduceLROnPlateau):
                if loss is not None:
                    scheduler.step(loss)
            else:
                scheduler.step()

    def get_state(self) -> list[dict[str, Any]]:
        """Their states, without functions."""
        return [_data(scheduler.state_dict()) for scheduler in self._schedulers]

    def set_state(self, state: list[Mapping[str, Any]]) -> None:
        """Continue from :meth:`get_state`."""
        for scheduler, saved in zip(self._schedulers, state, strict=False):
            current = scheduler.state_dict()
            scheduler.load_state_dict({**current, **_merged(current, saved)})


def _data(value: object) -> Any:
    """The part of a state that is data."""
    if isinstance(value, Mapping):
        return {str(key): _data(item) for key, item in value.items() if _is_data(item)}
    if isinstance(value, (list, tuple)):
        return [_data(item) if _is_data(item) else None for item in value]
    return float(value) if isinstance(value, torch.Tensor) else value


def _is_data(value: object) -> bool:
    plain = (type(None), bool, int, float, str, list, tuple, Mapping)
    return isinstance(value, plain) or (isinstance(value, torch.Tensor) and value.dim() == 0)


def _merged(current: Any, saved: Any) -> Any:
    """``saved`` with what only the live state has (functions), in the live state's types."""
    if isinstance(current, Mapping) and isinstance(saved, Mapping):
        keys = {str(key): key for key in current}  # JSON knows text keys only
        return {keys.get(key, key): _merged(current.get(keys.get(key, key)), item) for key, item in saved.items()}
    if isinstance(current, list) and isinstance(saved, list) and len(current) == len(saved):
        return [
            _merged(mine, theirs) if theirs is not None else mine for mine, theirs in zip(current, saved, strict=True)
        ]
    return saved
