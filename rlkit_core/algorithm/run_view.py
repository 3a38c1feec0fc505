"""What plugins see of a run that they watch: nothing they do with it changes the run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from rlkit_core.algorithm.config.derived import DerivedSettings

_RUN_DIR: ContextVar[Path | None] = ContextVar("rlkit_run_dir", default=None)


@contextmanager
def in_run_folder(path: Path) -> Iterator[None]:
    """Say in which folder the run goes on that builds and trains an algorithm inside this block."""
    token = _RUN_DIR.set(path)
    try:
        yield
    finally:
        _RUN_DIR.reset(token)


class RunView:
    """A run as an observer sees it.

    Args:
        algorithm: the algorithm that is watched.
    """

    def __init__(self, algorithm: Any) -> None:
        # Functions, so that the algorithm itself is no attribute.
        self._copy_config: Callable[[], Any] = lambda: algorithm.config.copy(copy_frozen=True)
        self._weights: Callable[..., Any] = lambda ids: algorithm.learner_group.get_weights(ids, inference_only=False)
        self._iteration = int(getattr(algorithm, "iteration", 0))
        self._run_dir = _RUN_DIR.get()

    @functools.cached_property
    def config(self) -> DerivedSettings:
        """The algorithm's config: a frozen copy, of its own class."""
        config: DerivedSettings = self._copy_config()
        return config

    @property
    def iteration(self) -> int:
        """How many times ``train()`` has returned, or is about to."""
        return self._iteration

    @property
    def run_dir(self) -> Path | None:
        """The run's folder; None for an algorithm that is no :class:`~rlkit_core.Run`'s."""
        return self._run_dir

    def get_weights(self, module_ids: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
        """Return the weights of all modules (or of those given) by module id and name: arrays that are copies."""
        state = self._weights(None if module_ids is None else list(module_ids)).state
        return {module_id: {name: _copied(value) for name, value in part.items()} for module_id, part in state.items()}


def _copied(value: object) -> Any:
    if isinstance(value, torch.Tensor):
        return np.array(value.detach().cpu())
    return np.array(value) if isinstance(value, np.ndarray) else value


def read_only(value: Any) -> Any:
    """Return a nested result as others may see it: mappings that take no items, tuples, copies of arrays."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: read_only(item) for key, item in value.items()})
    if type(value) in (list, tuple):
        return tuple(read_only(item) for item in value)
    if isinstance(value, set):
        return frozenset(value)
    if isinstance(value, np.ndarray):
        value = value.copy()  # a view's flag could be set back
        value.flags.writeable = False
        return value
    return torch.clone(value.detach()) if isinstance(value, torch.Tensor) else value
