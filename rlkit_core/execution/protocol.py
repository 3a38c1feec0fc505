"""The protocol between the core and whatever runs its actors.

An *actor* is any object; an *executor* makes it somewhere (this process, another one, another machine) and gives a
handle whose calls return futures. The core calls runners and learners only in this way, so a plugin that registers
another executor (a service of kind ``executor``) moves a run without a change to any algorithm. Nothing here knows of
reinforcement learning. What every executor must keep is written as tests in
:mod:`rlkit_core.execution.conformance`, which a plugin runs over its own.

Rules that types do not show:

- Calls of one actor run one at a time, in the order in which they were made; actors run beside each other.
- Whatever a call raises is in its future, in its own type where that can be imported, with the remote traceback as its
  cause. When the actor itself is gone, all its open futures and all later ones hold
  :class:`~rlkit_core.errors.ActorError`, soon.
- What is passed belongs to the receiver as if it had been copied: neither side sees the other's later changes. The
  executor in this process is the exception, it passes references; so leave alone what you have passed on.
- Functions and classes of ``__main__`` and of notebooks may be passed; nothing has to be guarded by
  ``if __name__ == "__main__"``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload, runtime_checkable

ActorT = TypeVar("ActorT")
ActorT_co = TypeVar("ActorT_co", covariant=True)
ContentT = TypeVar("ContentT")
ResultT = TypeVar("ResultT")
P = ParamSpec("P")


@runtime_checkable
class ActorHandle(Protocol[ActorT_co]):
    """One actor, wherever it lives."""

    @property
    def ready(self) -> Future[None]:
        """Complete when the actor is made; holds what its constructor raised."""

    @property
    def alive(self) -> bool:
        """Whether calls can be answered, as far as is known here."""

    @overload
    def call(
        self, method: Callable[Concatenate[ActorT_co, P], ResultT], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[ResultT]: ...

    @overload
    def call(self, method: str, /, *args: object, **kwargs: object) -> Future[Any]: ...

    def call(self, method: str | Callable[..., Any], /, *args: object, **kwargs: object) -> Future[Any]:
        """Call a method of the actor, or a function with the actor as its first argument.

        The future holds the result or the exception; this method itself raises nothing.
        """


@runtime_checkable
class Published(Protocol[ContentT]):
    """A place for arrays that the driver writes by version and any actor reads: how weights reach runners.

    It is passed to actors as an argument, by itself or inside of another. A reader finds the latest version, whole.
    """

    @property
    def version(self) -> int | None:
        """The latest version, or None before the first."""

    def publish(self, version: int, content: ContentT) -> None:
        """Make a snapshot of ``content`` (arrays and tensors at any depth) the latest version; the driver only."""

    def read(self, known: int | None = None) -> tuple[int, ContentT] | None:
        """Return the latest version and its content; None before the first, or when ``known`` is the latest."""


@runtime_checkable
class Executor(Protocol):
    """Makes actors and ends them. A context manager whose end stops all of them.

    What an executor can do is said by three attributes; nothing asks for its class.
    """

    threads: int | None
    """Torch threads that each actor is given; None leaves them as they are, so that actors may set them themselves.

    Who makes actors that set their own assigns None before the first of them is spawned. It says nothing where actors
    share the threads of this process.
    """

    @property
    def in_process(self) -> bool:
        """Whether actors live in this process: they share its registries and torch's threads.

        What is passed to them and what they return may then be the very object instead of a copy.
        """

    @property
    def concurrent(self) -> bool:
        """Whether actors run beside each other and beside the caller; otherwise a call has run when it returns."""

    def spawn(self, factory: Callable[P, ActorT], /, *args: P.args, **kwargs: P.kwargs) -> ActorHandle[ActorT]:
        """Make an actor by ``factory(*args, **kwargs)``, or begin to.

        An error in it is raised here, or is in ``ready`` and in every call.
        """

    def published(self) -> Published[Any]:
        """Make a place for arrays that all actors of this executor can read."""

    def wait(
        self, futures: Sequence[Future[ResultT]], *, timeout: float | None = None
    ) -> tuple[list[Future[ResultT]], list[Future[ResultT]]]:
        """Wait for at least one future, or ``timeout`` seconds: ``(done, not_done)``, both in the given order."""

    def restart(self, handle: Any) -> ActorHandle[Any]:
        """Make an actor anew with its original arguments, whether it is dead or alive; the old handle is of no use."""

    def stop(self, handle: Any = None) -> None:
        """End one actor, or all of this executor's; an actor's ``stop()`` is called if it has one.

        One that is stopped already is left alone. What a ``stop()`` raises is reported and keeps no other from its end.
        """

    def __enter__(self) -> Executor: ...

    def __exit__(self, *exc: object) -> None: ...
