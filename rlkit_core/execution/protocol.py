"""The protocol between the core and whatever runs its actors.

An *actor* is any object; an *executor* makes it somewhere (this process, another one, another machine) and gives a
handle whose calls return futures. The core calls runners and learners only in this way, so a plugin that registers
another executor (hook ``rlkit_executors``) moves a run without a change to any algorithm. Nothing here knows of
reinforcement learning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class ActorHandle(Protocol):
    """One actor, wherever it lives."""

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a method of the actor; the future holds its result or the exception it raised."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Makes actors and ends them."""

    def spawn(self, factory: Callable[..., Any], /, *args: Any, **kwargs: Any) -> ActorHandle:
        """Make an actor by ``factory(*args, **kwargs)``; an error in it is raised here or by the first call."""
        ...

    def wait(
        self, futures: Sequence[Future[Any]], *, timeout: float | None = None
    ) -> tuple[list[Future[Any]], list[Future[Any]]]:
        """Wait for at least one future: ``(done, not_done)``, both in the given order."""
        ...

    def restart(self, handle: ActorHandle) -> ActorHandle:
        """Make a dead actor anew with its original arguments."""
        ...

    def stop(self, handle: ActorHandle | None = None) -> None:
        """End one actor, or all of this executor's; an actor's ``stop()`` is called if it has one."""
        ...
