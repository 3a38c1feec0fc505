"""The actor of a worker process, however calls reach it: made, called and stopped."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any


class Served:
    """One actor, and torch's threads around it.

    Args:
        threads: torch threads that it is given; None leaves them alone.
    """

    def __init__(self, threads: int | None) -> None:
        self._threads = threads
        self._actor: Any = None

    def make(self, content: tuple[Callable[[], object] | None, Callable[..., Any], Any, Any]) -> None:
        """Make the actor: ``(called before, factory, args, kwargs)``."""
        setup, factory, args, kwargs = content
        self._set_torch_threads()
        if setup is not None:
            setup()
        self._actor = factory(*args, **kwargs)
        self._set_torch_threads()

    def call(self, content: tuple[str | Callable[..., Any], Any, Any]) -> Any:
        """Call a method by name, or a function with the actor: ``(method, args, kwargs)``."""
        method, args, kwargs = content
        if callable(method):
            return method(self._actor, *args, **kwargs)
        return getattr(self._actor, method)(*args, **kwargs)

    def stop(self) -> None:
        """Call the actor's ``stop()``, if it has one; what that raises is printed."""
        stop = getattr(self._actor, "stop", None)
        if stop is not None:
            try:
                stop()
            except Exception:
                traceback.print_exc()

    def _set_torch_threads(self) -> None:
        if self._threads is not None and "torch" in sys.modules:
            import torch

            if torch.get_num_threads() != self._threads:
                torch.set_num_threads(self._threads)


def difference(plugins: Mapping[str, Any] | None) -> str:
    """Adopt the driver's plugins; what is in the way, or nothing."""
    if plugins is None:
        return ""
    from rlkit_core.errors import PluginError
    from rlkit_core.execution.same_plugins import adopt

    try:
        adopt(plugins)
    except PluginError as error:
        return str(error)
    return ""
