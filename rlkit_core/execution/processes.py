"""The executor of processes: one process per actor on this machine, standard-library futures, no pool."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import itertools
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from multiprocessing import spawn
from typing import Any

from rlkit_core.errors import ActorError
from rlkit_core.execution import worker
from rlkit_core.execution.channel import INLINE, Channel, Closed, Message, Packed
from rlkit_core.execution.published import PublishedArrays

DEPTH = 4
"""Calls that are on their way to an actor at once; later ones wait here, so that sending one never blocks."""

_log = logging.getLogger("rlkit_core.execution")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_HINTS = {
    "SIGKILL": "if nobody killed it, the system ran out of memory",
    "SIGSEGV": "native code crashed",
    "SIGBUS": "shared memory ran out, or native code crashed",
    "SIGABRT": "native code gave up",
}


class ProcessActor:
    """Handle of an actor in a process of its own.

    Results are private to the caller. Arrays of 32 KiB and more in them are views on shared memory that the actor does
    not touch again for as long as one of the views lives; so they may be kept and changed like any array.

    Attributes:
        ready: completes when the actor is made; holds what its constructor raised.
    """

    def __init__(self, process: _Process, executor: ProcessExecutor, recipe: tuple[Any, ...]) -> None:
        self._process = process
        self._executor = executor  # an executor lives as long as one of its handles
        self._recipe = recipe
        self.ready: Future[None] = process.ready

    @property
    def alive(self) -> bool:
        """Whether its process runs, as far as is known."""
        return self._process.alive

    @property
    def pid(self) -> int | None:
        """Id of its process, or None before that has started."""
        return self._process.pid

    def call(self, method: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a method of the actor, or a function with the actor as its first argument; calls run in order.

        The arguments are copied before this returns. What goes wrong, here or there, is in the future: the exception
        of the call in its own type, or ActorError when the process has died or was stopped.
        """
        return self._process.call(method, args, kwargs)

    def __repr__(self) -> str:
        return (
            f"<ProcessActor {self._process.name}, process {self.pid}, {'alive' if self.alive else 'ended'}>"
        )


class ProcessExecutor:
    """Runs each actor in a process of its own; implements :class:`~rlkit_core.execution.protocol.Executor`.

    Scripts need no ``if __name__ == "__main__"``: a worker never imports the driver's main module, whose functions
    and classes travel by value. Nothing outlives the driver, however it ends. Needs a POSIX system.

    Args:
        threads: torch threads of each worker; None leaves torch's own choice.
        setup: called without arguments in each worker before its actor is made.
        env: environment variables to set in the workers.
        check_plugins: refuse a worker whose plugins differ from the driver's.
        stop_timeout: seconds that an actor has for its last call and its ``stop()`` before its process is terminated.

    Raises:
        ActorError: the system has no Unix sockets.
    """

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
        self._threads = threads
        self._setup = setup
        self._env = dict(env or {})
        self._check_plugins = check_plugins
        self._stop_timeout = stop_timeout
        self._processes: list[_Process] = []
        self._finalizer = weakref.finalize(
            self, _stop_all, self._processes, os.getpid(), min(1.0, stop_timeout)
        )

    def spawn(self, factory: Callable[..., Any], /, *args: Any, **kwargs: Any) -> ProcessActor:
        """Start a process that makes an actor by ``factory(*args, **kwargs)``; does not wait for it.

        Raises:
            TypeError, ...: the factory or an argument cannot be pickled.
        """
        content = (self._setup, factory, args, kwargs)
        process = _Process(_name(factory), content, self._settings())
        self._processes[:] = [p for p in self._processes if p.running]
        self._processes.append(process)
        return ProcessActor(process, self, (factory, args, kwargs))

    def _settings(self) -> dict[str, Any]:
        variables = dict(self._env)
        if self._threads is not None:
            variables = {**dict.fromkeys(_THREAD_VARIABLES, str(self._threads)), **variables}
        plugins = None
        if self._check_plugins:
            from rlkit_core.plugins.host import default_host

            plugins = default_host().snapshot.to_dict()
        return {
            "variables": variables,
            "grace": self._stop_timeout,
            "threads": self._threads,
            "plugins": plugins,
        }

    def published(self) -> PublishedArrays:
        """Shared memory for arrays that the driver writes by version and all actors read."""
        return PublishedArrays()

    def wait(
        self, futures: Sequence[Future[Any]], *, timeout: float | None = None
    ) -> tuple[list[Future[Any]], list[Future[Any]]]:
        """Wait for at least one future: ``(done, not_done)``, both in the given order."""
        done, _ = concurrent.futures.wait(
            futures, timeout=timeout, return_when=concurrent.futures.FIRST_COMPLETED
        )
        return [f for f in futures if f in done], [f for f in futures if f not in done]

    def restart(self, handle: ProcessActor) -> ProcessActor:
        """Make an actor anew with its original arguments; what is left of the old one is killed."""
        handle._process.kill()
        factory, args, kwargs = handle._recipe
        return self.spawn(factory, *args, **kwargs)

    def stop(self, handle: ProcessActor | None = None) -> None:
        """End one actor, or all: ask, wait, terminate, kill. Open futures complete with ActorError."""
        chosen = list(self._processes) if handle is None else [handle._process]
        _stop(chosen, self._stop_timeout)
        for process in chosen:
            if process in self._processes:
                self._processes.remove(process)

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _name(factory: Any) -> str:
    factory = getattr(factory, "func", factory) if isinstance(factory, functools.partial) else factory
    return str(getattr(factory, "__qualname__", None) or type(factory).__name__)


def _stop(processes: Sequence[_Process], timeout: float) -> None:
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


def _stop_all(processes: list[_Process], owner: int, timeout: float) -> None:
    if os.getpid() == owner:  # a forked child has no say over its parent's workers
        _stop(list(processes), timeout)


class _Call:
    __slots__ = ("future", "label", "packed")

    def __init__(self, future: Future[Any], label: str, packed: Packed | None = None) -> None:
        self.future, self.label, self.packed = future, label, packed


class _Process:
    """A worker process, and the thread here that starts it, receives from it and buries it."""

    def __init__(self, name: str, content: Any, settings: dict[str, Any]) -> None:
        self.name = name
        self.ready: Future[None] = Future()
        self.pid: int | None = None
        self._settings = settings
        self._popen: subprocess.Popen[bytes] | None = None
        self._pidfd: int | None = None
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._open: dict[int, _Call] = {}  # sent, not answered
        self._queue: deque[_Call] = deque()  # not sent
        self._stopping = False
        self._reason: Callable[[], BaseException] | None = None  # why it ended
        ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        for sock in (ours, self._theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * DEPTH * INLINE)
        self._channel = Channel(ours)
        try:
            packed = self._channel.pack(worker.MAKE, 0, content)
            self.ready.set_running_or_notify_cancel()
            self._open[0] = _Call(self.ready, "__init__")
            self._channel.send(packed)  # it waits in the socket for the process to start
        except BaseException:
            self._close()
            raise
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"rlkit-{name}", daemon=True)
        self._thread.start()

    # -- calls ----------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return self._reason is None

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def call(self, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        future: Future[Any] = Future()
        label = method if isinstance(method, str) else _name(method)
        with self._lock:
            if self._reason is None and not self._stopping:
                number = next(self._numbers)
                try:
                    packed = self._channel.pack(worker.CALL, number, (method, args, kwargs))
                except Exception as error:
                    future.set_exception(error)
                    return future
                self._queue.append(_Call(future, label, packed))
                self._send_queued()
                return future
        future.set_exception(self._error())
        return future

    def _send_queued(self) -> None:
        while self._queue and len(self._open) < DEPTH:
            call = self._queue.popleft()
            assert call.packed is not None
            if not call.future.set_running_or_notify_cancel():
                call.packed.discard()
                continue
            self._open[call.packed.call] = call
            with contextlib.suppress(Closed):  # the receiving thread sees it too, and completes the future
                self._channel.send(call.packed)
            call.packed = None

    def _error(self) -> BaseException:
        if self._reason is not None:
            return self._reason()
        return ActorError(f"actor {self.name} (process {self.pid}) was stopped")

    # -- its thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._start()
        except Exception as error:
            text = f"the process of actor {self.name} cannot be started: {error}"
            self._end(lambda: ActorError(text))
            return
        finally:
            self._started.set()
            self._theirs.close()
        with contextlib.suppress(Closed):
            while True:
                self._receive(self._channel.receive())
        self._end(self._bury())

    def _start(self) -> None:
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        fd = self._theirs.fileno()
        python = os.fsdecode(spawn.get_executable())
        self._popen = subprocess.Popen(
            [python, *flags, "-c", worker.BOOT, "rlkit-actor", self.name],
            stdin=subprocess.PIPE,
            env={**os.environ, **self._settings["variables"]},
            pass_fds=[fd],
            start_new_session=True,
        )
        self.pid = self._popen.pid
        with contextlib.suppress(AttributeError, OSError):
            self._pidfd = os.pidfd_open(self.pid)
        self._channel.watch(self._pidfd, lambda: self._popen is None or self._popen.poll() is not None)
        boot = {
            "fd": fd,
            "path": [path for path in sys.path if isinstance(path, str)],
            "driver": os.getpid(),
            **{key: self._settings[key] for key in ("grace", "threads", "plugins")},
        }
        assert self._popen.stdin is not None
        with (
            contextlib.suppress(OSError),
            self._popen.stdin as pipe,
        ):  # a worker that is gone is noticed later
            pipe.write(json.dumps(boot).encode())

    def _receive(self, message: Message) -> None:
        failed: BaseException | None = None
        content: Any = None
        try:
            content = message.load()
        except Exception as error:
            failed = ActorError(f"what actor {self.name} returned cannot be read here: {error!r}")
            failed.__cause__ = error
        if failed is None and message.kind == worker.ERROR:
            described = content
            failed = worker.revive(*described)
            if message.call == 0:
                self._reason = lambda: worker.revive(*described)
        elif failed is None and message.kind == worker.REFUSED:
            text = f"actor {self.name} was not made: {content}"
            failed = ActorError(text)
            self._reason = lambda: ActorError(text)
        with self._lock:
            call = self._open.pop(message.call)
            self._send_queued()
        if failed is not None:
            call.future.set_exception(failed)
        else:
            call.future.set_result(content)

    def _bury(self) -> Callable[[], BaseException]:
        """Wait for the process's end, end what it has started, and say what happened."""
        assert self._popen is not None
        self._await_exit(self._settings["grace"])
        self.signal(signal.SIGKILL)  # before it is reaped: until then nobody else can have its number
        code = self._popen.wait()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        if self._reason is not None:
            return self._reason
        if self._stopping:
            text = f"actor {self.name} (process {self.pid}) was stopped"
        else:
            text = f"actor {self.name} (process {self.pid}) died: {_how(code)}"
            if 0 in self._open:
                text += ", before it was made; what it printed may say more"
            elif self._open:
                text += f", while {next(iter(self._open.values())).label!r} ran"
        return lambda: ActorError(text)

    def _await_exit(self, timeout: float) -> None:
        assert self._popen is not None
        if self._pidfd is not None:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            poll.poll(1000 * timeout)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout)

    def _end(self, reason: Callable[[], BaseException]) -> None:
        with self._lock:
            self._reason = reason
            waiting = [call for call in self._queue if call.future.set_running_or_notify_cancel()]
            left = [*self._open.values(), *waiting]
            self._open.clear()
            self._queue.clear()
            self._close()
        for call in left:
            call.future.set_exception(reason())

    def _close(self) -> None:
        self._channel.close()
        self._theirs.close()

    # -- the end --------------------------------------------------------------------------------------------------

    def ask_to_stop(self) -> None:
        with self._lock:
            if self._reason is None and not self._stopping:
                self._stopping = True
                with contextlib.suppress(Closed):
                    self._channel.send(self._channel.pack(worker.STOP, 0, None))

    def signal(self, number: int) -> None:
        """Send a signal to the process and all it has started."""
        self._started.wait()
        if self.pid is not None and self.running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def kill(self) -> None:
        self._stopping = True
        self.signal(signal.SIGKILL)
        self.join(10.0)
        if self.running and threading.current_thread() is not self._thread:
            _log.warning("process %s of actor %s does not end, though it was killed", self.pid, self.name)

    def join(self, timeout: float) -> None:
        if threading.current_thread() is not self._thread:
            self._thread.join(max(0.0, timeout))


def _how(code: int) -> str:
    if code >= 0:
        return f"it exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = f" ({_HINTS[name]})" if name in _HINTS else ""
    return f"it was killed by signal {-code} ({name}){hint}"
