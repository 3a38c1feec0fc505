"""The driver's side of a worker process: the thread that starts it, receives from it, and buries it."""

from __future__ import annotations

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
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import spawn
from typing import Any

from rlkit_core.errors import ActorError
from rlkit_core.execution.foreign_code import shadowed_packages
from rlkit_processes import worker
from rlkit_processes.channel import INLINE, Channel, Closed, Message, Packed
from rlkit_processes.remote_errors import revive

DEPTH = 4
"""Calls that are on their way to an actor at once; later ones wait here, so that sending one never blocks."""

_log = logging.getLogger("rlkit_processes")
_HINTS = {
    "SIGKILL": "if nobody killed it, the system ran out of memory",
    "SIGSEGV": "native code crashed",
    "SIGBUS": "shared memory ran out, or native code crashed",
    "SIGABRT": "native code gave up",
}


def name_of(factory: Any) -> str:
    """What an actor is called in messages."""
    factory = getattr(factory, "func", factory) if isinstance(factory, functools.partial) else factory
    return str(getattr(factory, "__qualname__", None) or type(factory).__name__)


class _Call:
    __slots__ = ("future", "label", "packed")

    def __init__(self, future: Future[Any], label: str, packed: Packed | None = None) -> None:
        self.future, self.label, self.packed = future, label, packed


class WorkerProcess:
    """A worker process, and the thread here that starts it, receives from it and buries it."""

    def __init__(self, name: str, content: Any, settings: dict[str, Any]) -> None:
        self.name = name
        self.ready: Future[None] = Future()
        self.pid: int | None = None
        self._owner = os.getpid()
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
        """Whether calls can be answered, as far as is known."""
        return self._reason is None

    @property
    def running(self) -> bool:
        """Whether its end has not been seen and dealt with."""
        return self._thread.is_alive()

    def call(self, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Send a call, or queue it; see :meth:`ProcessActor.call`."""
        future: Future[Any] = Future()
        if os.getpid() != self._owner:
            text = f"actor {self.name} answers the process that made it, and not a fork of that; make one here"
            future.set_exception(ActorError(text))
            return future
        label = method if isinstance(method, str) else name_of(method)
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
        while self._queue and len(self._open) < DEPTH and not self._stopping:
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
        try:
            while True:
                self._receive(self._channel.receive())
        except Closed:
            pass
        except BaseException as error:  # descriptors or memory ran out here: no future may wait for ever
            failure = f"actor {self.name} (process {self.pid}) was given up: its answer cannot be received: {error!r}"
            self._reason = lambda: ActorError(failure)
            self.signal(signal.SIGKILL)
        self._end(self._bury())

    def _start(self) -> None:
        fd = self._theirs.fileno()
        python = os.fsdecode(spawn.get_executable())
        self._popen = subprocess.Popen(
            [python, *_interpreter_flags(), "-c", worker.BOOT, "rlkit-actor", self.name],
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
            "homes": shadowed_packages(),
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
            failed = revive(*described)
            if message.call == 0:
                self._reason = lambda: revive(*described)
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
        """Send the request to stop, behind the calls that are on their way; those that wait here are given up."""
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
        """End the process and all it has started, now."""
        self._stopping = True
        self.signal(signal.SIGKILL)
        self.join(10.0)
        if self.running and threading.current_thread() is not self._thread:
            _log.warning("process %s of actor %s does not end, though it was killed", self.pid, self.name)

    def join(self, timeout: float) -> None:
        """Wait until its end has been dealt with."""
        if threading.current_thread() is not self._thread:
            self._thread.join(max(0.0, timeout))


def _interpreter_flags() -> list[str]:
    """The options that this Python was started with (``-W``, ``-X`` ...); the standard library has no public way."""
    flags: Callable[[], list[str]] = getattr(subprocess, "_args_from_interpreter_flags", list)
    return flags()


def _how(code: int) -> str:
    if code >= 0:
        return f"it exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = f" ({_HINTS[name]})" if name in _HINTS else ""
    return f"it was killed by signal {-code} ({name}){hint}"
