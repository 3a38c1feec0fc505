"""The driver's handle of an actor in a Ray cluster: calls, standard-library futures, and its end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeVar

from rlkit_core.errors import ActorError
from rlkit_core.execution.same_plugins import for_worker
from rlkit_processes.remote_errors import revive
from rlkit_processes.supervisor import name_of
from rlkit_ray import cluster, transport
from rlkit_ray.actor import Actor, surroundings
from rlkit_ray.cluster import Cluster, ray

ActorT = TypeVar("ActorT")


class RayActor(Generic[ActorT]):
    """Handle of an actor in a process of a Ray cluster.

    Results are private to the caller. Large arrays in them lie where Ray has put them, and may be kept and changed.

    Attributes:
        ready: completes when the actor is made; holds what its constructor raised.
        recipe: the factory and its arguments, with which another actor like this one is made.
    """

    def __init__(
        self,
        recipe: tuple[Callable[..., ActorT], Any, Any],
        tie: Cluster,
        options: Mapping[str, Any],
        threads: int | None,
        start_timeout: float,
    ) -> None:
        self.recipe, self._tie = recipe, tie
        self._name, self._where = name_of(recipe[0]), "not started"
        self._lock = threading.RLock()
        self._open: dict[Future[Any], str] = {}
        self._reason: Callable[[], BaseException] | None = None  # why it ended, or was not made
        self._alive = True
        made = transport.pack((None, *recipe))
        self._remote = ray.remote(Actor).options(**options).remote()

        def late() -> ActorError:
            return ActorError(cluster.no_room(self._name, options, start_timeout))

        self._late = threading.Timer(start_timeout, self._give_up, [late])
        self._late.daemon = True
        self._late.start()
        self._send("hello").add_done_callback(self._placed)
        self.ready: Future[None] = self._send("make", surroundings(), for_worker(), threads, made)

    @property
    def alive(self) -> bool:
        """Whether calls can be answered, as far as is known: Ray tells of a death when a call is open, or is made."""
        return self._alive

    def call(self, method: str | Callable[..., Any], /, *args: object, **kwargs: object) -> Future[Any]:
        """Call a method of the actor, or a function with the actor as its first argument; calls run in order.

        The arguments are copied before this returns. What goes wrong, here or there, is in the future: the exception
        of the call in its own type, or ActorError when the process or its machine is gone or was stopped.
        """
        label = method if isinstance(method, str) else name_of(method)
        try:
            message = transport.pack((method, args, kwargs))
        except Exception as error:
            return _failed(error)
        return self._send("call", message, label=label)

    def _send(self, method: str, *args: Any, label: str = "__init__") -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._reason is not None:
                return _failed(self._reason())
            try:
                reference = getattr(self._remote, method).remote(*args)
            except Exception as error:  # Ray was shut down here
                text = f"actor {self._name} cannot be reached any more: {error}"
                self.end(lambda: ActorError(text))
                return _failed(ActorError(text))
            self._open[future] = label
        arrived, receive = self._tie.arrived, partial(self._receive, future, method)
        reference.future().add_done_callback(lambda done: arrived.put(partial(receive, done)))
        return future

    # -- answers ------------------------------------------------------------------------------------------------------

    def _placed(self, hello: Future[Any]) -> None:
        self._late.cancel()
        if hello.exception() is None:
            self._where = "process {1} on {0}".format(*hello.result())

    def _receive(self, future: Future[Any], method: str, done: Future[Any]) -> None:
        error = done.exception()
        if error is not None:
            label = self._open.get(future)
            if label is not None:
                text = f"actor {self._name} ({self._where}) died while {label!r} ran: {_said(error)}"
                self._give_up(lambda: ActorError(text))
            return
        content, failure = done.result(), None
        if method != "hello":
            content, failure = self._unpacked(content)
        if failure is not None and method == "make":
            self._give_up(failure)
        with self._lock:
            if self._open.pop(future, None) is None:
                return
        if failure is not None:
            future.set_exception(failure())
        else:
            future.set_result(content)

    def _unpacked(self, message: transport.Message) -> tuple[Any, Callable[[], BaseException] | None]:
        """What an answer brings: a result, or how to make the exception."""
        try:
            kind, content = transport.unpack(message)
        except Exception as problem:
            text = f"what actor {self._name} returned cannot be read here: {problem!r}"
            return None, lambda: ActorError(text)
        if kind == transport.REFUSED:
            return None, lambda: ActorError(f"actor {self._name} was not made: {content}")
        return content, None if kind == transport.RESULT else lambda: revive(*content)

    # -- the end ------------------------------------------------------------------------------------------------------

    def end(self, reason: Callable[[], BaseException]) -> None:
        """Complete all open calls, and all later ones, with this."""
        self._late.cancel()
        with self._lock:
            self._alive = False
            self._reason = reason
            left = list(self._open)
            self._open.clear()
        for future in left:
            future.set_exception(reason())

    def _give_up(self, reason: Callable[[], BaseException]) -> None:
        with contextlib.suppress(Exception):
            ray.kill(self._remote)
        self.end(reason)

    def ask_to_stop(self) -> Any:
        """Ask for the actor's ``stop()``, behind the calls that are open; Ray's reference, or None."""
        with self._lock, contextlib.suppress(Exception):
            if self._alive and self._where != "not started":
                text = f"actor {self._name} ({self._where}) was stopped"
                self._reason = lambda: ActorError(text)
                return self._remote.stop.remote()
        return None

    def kill(self) -> None:
        """End its process now."""
        if self._alive:
            self._give_up(lambda: ActorError(f"actor {self._name} ({self._where}) was stopped"))

    def __repr__(self) -> str:
        return f"<RayActor {self._name}, {self._where}, {'alive' if self._alive else 'ended'}>"


def _failed(error: BaseException) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def _said(error: BaseException) -> str:
    """What Ray says of a failure, without its tables."""
    text = " ".join(str(error).split())
    return text[max(0, text.find("The actor is dead")) :]
