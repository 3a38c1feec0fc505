"""The executor of this process: calls run at once, futures are complete when they are returned."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic

from rlkit_core.errors import ActorError
from rlkit_core.execution.protocol import ActorT, ContentT, P, ResultT

_log = logging.getLogger("rlkit_core.execution")


class LocalActor(Generic[ActorT]):
    """Handle of an actor in this process.

    Attributes:
        instance: the actor itself; only code that knows it is in the same process may touch it.
        ready: complete.
        recipe: the factory, with which another actor like this one is made.
    """

    def __init__(self, recipe: Callable[[], ActorT]) -> None:
        self.recipe = recipe
        self.instance = recipe()
        self.ready: Future[None] = Future()
        self.ready.set_result(None)
        self.alive = True

    def call(self, method: str | Callable[..., Any], /, *args: object, **kwargs: object) -> Future[Any]:
        """Call a method, or a function with the actor, now; what it raises is in the future, as from any executor."""
        future: Future[Any] = Future()
        try:
            if not self.alive:
                raise ActorError(f"actor {type(self.instance).__name__} was stopped")
            function = getattr(self.instance, method) if isinstance(method, str) else partial(method, self.instance)
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class LocalExecutor:
    """Runs actors in this process; implements :class:`~rlkit_core.execution.protocol.Executor`."""

    in_process = True
    concurrent = False

    def __init__(self) -> None:
        self.threads: int | None = None
        self._actors: list[LocalActor[Any]] = []

    def spawn(self, factory: Callable[P, ActorT], /, *args: P.args, **kwargs: P.kwargs) -> LocalActor[ActorT]:
        """Make an actor; what its constructor raises is raised here."""
        return self._add(LocalActor(lambda: factory(*args, **kwargs)))

    def _add(self, actor: LocalActor[ActorT]) -> LocalActor[ActorT]:
        self._actors.append(actor)
        return actor

    def published(self) -> LocalPublished[Any]:
        """A place for arrays; its readers share one snapshot, which they leave unchanged."""
        return LocalPublished()

    def wait(
        self, futures: Sequence[Future[ResultT]], *, timeout: float | None = None
    ) -> tuple[list[Future[ResultT]], list[Future[ResultT]]]:
        """Every future is done already."""
        return list(futures), []

    def restart(self, handle: LocalActor[ActorT]) -> LocalActor[ActorT]:
        """Make the actor anew with its original arguments."""
        self.stop(handle)
        return self._add(LocalActor(handle.recipe))

    def stop(self, handle: LocalActor[Any] | None = None) -> None:
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


class LocalPublished(Generic[ContentT]):
    """Arrays by version inside one process: the publisher's snapshot, which all readers share and leave unchanged."""

    def __init__(self) -> None:
        self._latest: tuple[int, ContentT] | None = None

    @property
    def version(self) -> int | None:
        """The latest version, or None before the first."""
        return None if self._latest is None else self._latest[0]

    def publish(self, version: int, content: ContentT) -> None:
        """Take a copy of ``content``, for its arrays may be changed in place afterwards."""
        self._latest = (version, copy.deepcopy(content))

    def read(self, known: int | None = None) -> tuple[int, ContentT] | None:
        """Return the latest version and its content; None before the first, or when ``known`` is the latest."""
        latest = self._latest
        return None if latest is None or latest[0] == known else latest
