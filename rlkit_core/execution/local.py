"""The executor of this process: calls run at once, futures are complete when they are returned."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from rlkit_core.errors import ActorError
from rlkit_core.execution.published import LocalPublished

_log = logging.getLogger("rlkit_core.execution")


class LocalActor:
    """Handle of an actor in this process.

    Attributes:
        instance: the actor itself; only code that knows it is in the same process may touch it.
        ready: complete.
    """

    def __init__(self, factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._recipe = (factory, args, kwargs)
        self.instance = factory(*args, **kwargs)
        self.ready: Future[None] = Future()
        self.ready.set_result(None)
        self.alive = True

    def call(self, method: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a method, or a function with the actor, now; what it raises is in the future, as from any executor."""
        future: Future[Any] = Future()
        try:
            if not self.alive:
                raise ActorError(f"actor {type(self.instance).__name__} was stopped")
            if isinstance(method, str):
                future.set_result(getattr(self.instance, method)(*args, **kwargs))
            else:
                future.set_result(method(self.instance, *args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

    def make_anew(self) -> LocalActor:
        """A new actor from the original arguments."""
        factory, args, kwargs = self._recipe
        return LocalActor(factory, args, kwargs)


class LocalExecutor:
    """Runs actors in this process; implements :class:`~rlkit_core.execution.protocol.Executor`."""

    def __init__(self) -> None:
        self._actors: list[LocalActor] = []

    def spawn(self, factory: Callable[..., Any], /, *args: Any, **kwargs: Any) -> LocalActor:
        """Make an actor; what its constructor raises is raised here."""
        actor = LocalActor(factory, args, kwargs)
        self._actors.append(actor)
        return actor

    def published(self) -> LocalPublished:
        """A place for arrays; its readers share one snapshot, which they leave unchanged."""
        return LocalPublished()

    def wait(
        self, futures: Sequence[Future[Any]], *, timeout: float | None = None
    ) -> tuple[list[Future[Any]], list[Future[Any]]]:
        """Every future is done already."""
        return list(futures), []

    def restart(self, handle: LocalActor) -> LocalActor:
        """Make the actor anew with its original arguments."""
        self.stop(handle)
        actor = handle.make_anew()
        self._actors.append(actor)
        return actor

    def stop(self, handle: LocalActor | None = None) -> None:
        """Stop one actor or all; an actor that is stopped already is left alone."""
        for actor in [handle] if handle is not None else list(self._actors):
            if actor in self._actors:
                self._actors.remove(actor)
                actor.alive = False
                stop = getattr(actor.instance, "stop", None)
                if stop is not None:
                    try:
                        stop()
                    except Exception:
                        _log.warning("stop() of %r failed", actor.instance, exc_info=True)

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
