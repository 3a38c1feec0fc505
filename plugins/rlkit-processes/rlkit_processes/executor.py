"""The executor of processes: one process per actor on this machine, standard-library futures, no pool."""

from __future__ import annotations

import concurrent.futures
import os
import select
import signal
import socket
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Generic, ParamSpec, TypeVar

from rlkit_core.errors import ActorError
from rlkit_processes.published import PublishedArrays
from rlkit_processes.supervisor import WorkerProcess, name_of

ActorT = TypeVar("ActorT")
ResultT = TypeVar("ResultT")
P = ParamSpec("P")

URGENT_S = 1.0
"""Seconds that actors have to stop when somebody interrupts the program."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class ProcessActor(Generic[ActorT]):
    """Handle of an actor in a process of its own.

    Results are private to the caller. Arrays of 32 KiB and more in them are views on shared memory that the actor does
    not touch again for as long as one of the views lives; so they may be kept and changed like any array.

    Attributes:
        ready: completes when the actor is made; holds what its constructor raised.
        process: its worker process.
        recipe: the factory and its arguments, with which another actor like this one is made.
    """

    def __init__(
        self, process: WorkerProcess, executor: ProcessExecutor, recipe: tuple[Callable[..., ActorT], Any, Any]
    ) -> None:
        self.process = process
        self._executor = executor  # an executor lives as long as one of its handles
        self.recipe = recipe
        self.ready: Future[None] = process.ready

    @property
    def alive(self) -> bool:
        """Whether its process runs, as far as is known."""
        return self.process.alive

    @property
    def pid(self) -> int | None:
        """Id of its process, or None before that has started."""
        return self.process.pid

    def call(self, method: str | Callable[..., Any], /, *args: object, **kwargs: object) -> Future[Any]:
        """Call a method of the actor, or a function with the actor as its first argument; calls run in order.

        The arguments are copied before this returns. What goes wrong, here or there, is in the future: the exception
        of the call in its own type, or ActorError when the process has died or was stopped.
        """
        return self.process.call(method, args, kwargs)

    def __repr__(self) -> str:
        return f"<ProcessActor {self.process.name}, process {self.pid}, {'alive' if self.alive else 'ended'}>"


class ProcessExecutor:
    """Runs each actor in a process of its own; implements :class:`~rlkit_core.execution.protocol.Executor`.

    Scripts need no ``if __name__ == "__main__"``: a worker never imports the driver's main module, whose functions
    and classes travel by value. Nothing outlives the driver, however it ends. Needs a POSIX system.

    Args:
        threads: torch threads of each worker; None leaves torch's own choice. May be set until the first is spawned.
        setup: called without arguments in each worker before its actor is made.
        env: environment variables to set in the workers.
        check_plugins: give workers the plugins that the driver knows, and refuse one where something in use differs.
        stop_timeout: seconds that an actor has for its last call and its ``stop()`` before its process is terminated.

    Raises:
        ActorError: the system has no Unix sockets.
    """

    in_process = False
    concurrent = True

    def __init__(
        self,
        *,
        threads: int | None = 1,
        setup: Callable[[], object] | None = None,
        env: Mapping[str, str] | None = None,
        check_plugins: bool = True,
        stop_timeout: float = 5.0,
    ) -> None:
        if not hasattr(socket, "AF_UNIX") or not hasattr(select, "poll") or not hasattr(socket, "SCM_RIGHTS"):
            raise ActorError(
                f"actors in processes need Unix sockets, which Python on {sys.platform} does not have; "
                "use the executor 'local'"
            )
        self.threads = threads
        self._setup = setup
        self._env = dict(env or {})
        self._check_plugins = check_plugins
        self._stop_timeout = stop_timeout
        self._processes: list[WorkerProcess] = []
        self._finalizer = weakref.finalize(self, _stop_all, self._processes, os.getpid(), min(1.0, stop_timeout))

    def spawn(self, factory: Callable[P, ActorT], /, *args: P.args, **kwargs: P.kwargs) -> ProcessActor[ActorT]:
        """Start a process that makes an actor by ``factory(*args, **kwargs)``; does not wait for it.

        Raises:
            TypeError, ...: the factory or an argument cannot be pickled.
        """
        content = (self._setup, factory, args, kwargs)
        process = WorkerProcess(name_of(factory), content, self._settings())
        self._processes[:] = [p for p in self._processes if p.running]
        self._processes.append(process)
        return ProcessActor(process, self, (factory, args, kwargs))

    def _settings(self) -> dict[str, Any]:
        variables = dict(self._env)
        if self.threads is not None:
            variables = {**dict.fromkeys(_THREAD_VARIABLES, str(self.threads)), **variables}
        plugins = None
        if self._check_plugins:
            from rlkit_core.execution.same_plugins import for_worker

            plugins = for_worker()
        return {
            "variables": variables,
            "grace": self._stop_timeout,
            "threads": self.threads,
            "plugins": plugins,
        }

    def published(self) -> PublishedArrays:
        """Shared memory for arrays that the driver writes by version and all actors read."""
        return PublishedArrays()

    def wait(
        self, futures: Sequence[Future[ResultT]], *, timeout: float | None = None
    ) -> tuple[list[Future[ResultT]], list[Future[ResultT]]]:
        """Wait for at least one future: ``(done, not_done)``, both in the given order."""
        done, _ = concurrent.futures.wait(futures, timeout=timeout, return_when=concurrent.futures.FIRST_COMPLETED)
        return [f for f in futures if f in done], [f for f in futures if f not in done]

    def restart(self, handle: ProcessActor[ActorT]) -> ProcessActor[ActorT]:
        """Make an actor anew with its original arguments; the old one, if it lives, has a second to stop."""
        process = handle.process
        _stop([process], min(1.0, self._stop_timeout))
        factory, args, kwargs = handle.recipe
        return self.spawn(factory, *args, **kwargs)

    def stop(self, handle: ProcessActor[Any] | None = None) -> None:
        """End one actor, or all: ask, wait, terminate, kill. Open futures complete with ActorError.

        While a KeyboardInterrupt is handled, whoever waits wants it over: actors have a second at most then.
        """
        chosen = list(self._processes) if handle is None else [handle.process]
        is_urgent = isinstance(sys.exc_info()[1], KeyboardInterrupt)
        _stop(chosen, min(URGENT_S, self._stop_timeout) if is_urgent else self._stop_timeout)
        for process in chosen:
            if process in self._processes:
                self._processes.remove(process)

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _stop(processes: Sequence[WorkerProcess], timeout: float) -> None:
    try:
        for process in processes:
            process.ask_to_stop()
        deadline = time.monotonic() + timeout
        for process in processes:
            process.join(deadline - time.monotonic())
        late = [process for process in processes if process.running]
        for process in late:
            process.signal(signal.SIGTERM)
        deadline = time.monotonic() + 1.0
        for process in late:
            process.join(deadline - time.monotonic())
    finally:  # a second Ctrl-C ends the waiting, not the cleaning
        for process in processes:
            if process.running:
                process.kill()


def _stop_all(processes: list[WorkerProcess], owner: int, timeout: float) -> None:
    if os.getpid() == owner:  # a forked child has no say over its parent's workers
        _stop(list(processes), timeout)
