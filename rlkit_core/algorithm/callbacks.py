"""Calling what wants to know: the user's callbacks, and the observers of plugins."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rlkit_core.algorithm.config.config import AlgorithmConfig
from rlkit_core.algorithm.config.converters import CALLBACK_EVENTS
from rlkit_core.algorithm.results import ResultDict
from rlkit_core.plugins.hookspecs import Algorithm
from rlkit_core.plugins.host import PluginHost


class Callbacks:
    """Calls the functions of ``config.callbacks(...)`` and the observer hooks of plugins.

    A user's function is called with the keyword arguments that it takes. What it raises propagates as the
    type it has, with a note that names the event and the function. What a plugin's observer raises is logged
    by the host and never ends a run.

    Args:
        config: an ``AlgorithmConfig``.
        host: the plugin host, whose observers are told; None tells nobody.
    """

    def __init__(self, config: AlgorithmConfig, host: PluginHost | None = None) -> None:
        self._host = host
        objects = [item() if isinstance(item, type) else item for item in config.callbacks_class]
        self._functions: dict[str, list[Callable[..., Any]]] = {
            event: [getattr(item, event) for item in objects if hasattr(item, event)] + list(config[event])
            for event in CALLBACK_EVENTS
        }

    def on_algorithm_init(self, algorithm: Algorithm) -> None:
        """The algorithm is built."""
        self._call("on_algorithm_init", algorithm=algorithm)
        self._notify("rlkit_algorithm_built", algorithm=algorithm)

    def on_train_result(self, algorithm: Algorithm, result: ResultDict) -> None:
        """One ``train()`` has ended; functions may add to ``result``, plugins get to see it."""
        self._call("on_train_result", algorithm=algorithm, result=result)
        self._notify("rlkit_train_result", algorithm=algorithm, result=result)

    def on_evaluate_start(self, algorithm: Algorithm) -> None:
        """An evaluation begins."""
        self._call("on_evaluate_start", algorithm=algorithm)

    def on_evaluate_end(self, algorithm: Algorithm, evaluation_metrics: Mapping[str, Any]) -> None:
        """An evaluation has ended."""
        self._call("on_evaluate_end", algorithm=algorithm, evaluation_metrics=evaluation_metrics)

    def on_checkpoint_saved(self, algorithm: Algorithm, path: str | Path) -> None:
        """A checkpoint was written."""
        self._call("on_checkpoint_saved", algorithm=algorithm, path=Path(path))
        self._notify("rlkit_checkpoint_saved", algorithm=algorithm, path=Path(path))

    def on_checkpoint_loaded(self, algorithm: Algorithm, path: str | Path) -> None:
        """The algorithm was restored."""
        self._call("on_checkpoint_loaded", algorithm=algorithm, path=Path(path))

    def _call(self, event: str, **kwargs: object) -> None:
        for function in self._functions[event]:
            try:
                function(**_accepted(function, kwargs))
            except Exception as error:
                _add_note(error, f"raised by the callback {event}={_name(function)}")
                raise

    def _notify(self, hook: str, **kwargs: object) -> None:
        if self._host is not None:
            self._host.notify(hook, **kwargs)


def _accepted(function: Callable[..., object], kwargs: dict[str, object]) -> dict[str, object]:
    """Those of ``kwargs`` that the function takes; all of them if it cannot be inspected."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return kwargs
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return kwargs
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return {name: value for name, value in kwargs.items() if name in names}


def _add_note(error: BaseException, note: str) -> None:
    """``error.add_note`` where Python has it; the first argument of the message otherwise."""
    if hasattr(error, "add_note"):
        error.add_note(note)
    elif error.args and isinstance(error.args[0], str):
        error.args = (f"{error.args[0]} ({note})", *error.args[1:])


def _name(function: object) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
