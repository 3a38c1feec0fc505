"""The executor of a Ray cluster: one Ray actor per actor, standard-library futures."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from rlkit_core.errors import ActorError
from rlkit_core.execution.same_plugins import for_worker
from rlkit_processes.remote_errors import revive
from rlkit_processes.supervisor import name_of
from rlkit_ray import cluster, transport
from rlkit_ray.actor import Actor, Board, surroundings
from rlkit_ray.cluster import Cluster, ray
from rlkit_ray.published import RayPublished

ActorT = TypeVar("ActorT")
ResultT = TypeVar("ResultT")
P = ParamSpec("P")

URGENT_S = 1.0
"""Seconds that actors have to stop when somebody interrupts the program."""
STOP_S = 5.0
"""Seconds that they have otherwise, for their last call and their ``stop()``."""


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


class RayExecutor:
    """Runs each actor in a process of a Ray cluster; implements :class:`~rlkit_core.execution.protocol.Executor`.

    The first actor joins the cluster that this process is connected to, else that at ``address``, of ``RAY_ADDRESS`` or
    running on this machine, else one is started here. One that was started ends with the last executor.

    Args:
        address: of the cluster, ``"host:port"`` or ``"auto"``.
        runner_options: of the Ray actors of runners, as Ray's ``options()`` takes them; they are spread over the nodes
            unless given.
        learner_options: those of learners.
        evaluation_options: those of runners that evaluate; None: as of other runners.
        start_timeout: seconds in which the cluster has to find room for an actor.
        role: whose actors these are: ``"runner"``, ``"learner"`` or ``"evaluation"``.
    """

    in_process = False
    concurrent = True

    def __init__(
        self,
        *,
        address: str | None = None,
        runner_options: Mapping[str, Any] | None = None,
        learner_options: Mapping[str, Any] | None = None,
        evaluation_options: Mapping[str, Any] | None = None,
        start_timeout: float = 60.0,
        role: str = "runner",
    ) -> None:
        self.threads: int | None = 1
        self._address, self._start_timeout = address, start_timeout
        options = {"learner": learner_options, "evaluation": evaluation_options or runner_options}
        self._options = dict(options.get(role, runner_options) or {})
        self._actors: list[RayActor[Any]] = []
        self._tie: list[Cluster] = []
        self._board: Any = None
        self._finalizer = weakref.finalize(self, _finish, self._actors, self._tie, os.getpid())

    def spawn(self, factory: Callable[P, ActorT], /, *args: P.args, **kwargs: P.kwargs) -> RayActor[ActorT]:
        """Have Ray start a process that makes an actor by ``factory(*args, **kwargs)``; does not wait for it.

        Raises:
            ActorError: there is no cluster to join.
            ValueError, TypeError: Ray does not know an option.
            Exception: the factory or an argument cannot be pickled.
        """
        tie, options = self._connected(), dict(self._options)
        if ray.util.get_current_placement_group() is None:
            options.setdefault("scheduling_strategy", "SPREAD")
        actor = RayActor((factory, args, kwargs), tie, options, self.threads, self._start_timeout)
        self._actors.append(actor)
        return actor

    def published(self) -> RayPublished:
        """A place in Ray's object store for arrays that the driver writes by version and all actors read."""
        self._connected()
        if self._board is None:  # beside the driver, with which it ends
            here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                ray.get_runtime_context().get_node_id(), soft=False
            )
            self._board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
        return RayPublished(self._board)

    def _connected(self) -> Cluster:
        if not self._tie:
            self._tie.append(cluster.acquire(self._address))
        return self._tie[0]

    def wait(
        self, futures: Sequence[Future[ResultT]], *, timeout: float | None = None
    ) -> tuple[list[Future[ResultT]], list[Future[ResultT]]]:
        """Wait for at least one future: ``(done, not_done)``, both in the given order."""
        done, _ = concurrent.futures.wait(futures, timeout=timeout, return_when=concurrent.futures.FIRST_COMPLETED)
        return [f for f in futures if f in done], [f for f in futures if f not in done]

    def restart(self, handle: RayActor[ActorT]) -> RayActor[ActorT]:
        """Make an actor anew with its original arguments; the old one, if it lives, has a second to stop."""
        _stop([handle], URGENT_S)
        factory, args, kwargs = handle.recipe
        return self.spawn(factory, *args, **kwargs)

    def stop(self, handle: RayActor[Any] | None = None) -> None:
        """End one actor, or all: ask, wait, kill. Open futures complete with ActorError.

        While a KeyboardInterrupt is handled, whoever waits wants it over: actors have a second at most then.
        """
        is_urgent = isinstance(sys.exc_info()[1], KeyboardInterrupt)
        try:
            _stop(list(self._actors) if handle is None else [handle], URGENT_S if is_urgent else STOP_S)
        finally:
            self._actors[:] = [actor for actor in self._actors if actor.alive]
            if handle is None:
                if self._board is not None and self._tie and self._tie[0].connected:
                    ray.kill(self._board)
                self._board = None
                _leave(self._tie)

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _failed(error: BaseException) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def _said(error: BaseException) -> str:
    """What Ray says of a failure, without its tables."""
    text = " ".join(str(error).split())
    return text[max(0, text.find("The actor is dead")) :]


def _stop(actors: Sequence[RayActor[Any]], timeout: float) -> None:
    try:
        asked = [reference for actor in actors if (reference := actor.ask_to_stop()) is not None]
        if asked:
            ray.wait(asked, num_returns=len(asked), timeout=timeout)
    finally:  # a second Ctrl-C ends the waiting, not the cleaning
        for actor in actors:
            actor.kill()


def _leave(tie: list[Cluster]) -> None:
    while tie:
        cluster.release(tie.pop())


def _finish(actors: list[RayActor[Any]], tie: list[Cluster], owner: int) -> None:
    if os.getpid() == owner and tie:  # a forked child has no say over its parent's actors
        if tie[0].connected:
            _stop(list(actors), URGENT_S)
        _leave(tie)
