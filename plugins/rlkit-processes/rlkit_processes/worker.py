"""What runs in the process of an actor: one loop that receives calls, and one thread that watches the driver.

The process does not import the driver's ``__main__`` again; it starts from :data:`BOOT` with the driver's ``sys.path``
and the driver's copies of packages. It leads a process group of its own, so that Ctrl-C reaches the driver only, and so
that what an actor has started ends with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from rlkit_core.errors import ActorError
from rlkit_core.run.output import unfailing_output
from rlkit_processes.channel import Channel, Closed, Message, Packed
from rlkit_processes.codec import from_bytes, to_bytes, tracked_classes

BOOT = """
import json, sys
from importlib.machinery import PathFinder

class AsInDriver:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [boot["homes"][name]]) if name in boot["homes"] else None

boot = json.load(sys.stdin)
sys.path[:] = boot["path"]
if boot["homes"]:
    sys.meta_path.insert(0, AsInDriver)
from rlkit_processes.worker import main
main(boot)
"""
"""The program of a worker process; reads its settings as JSON from standard input.

Packages that the driver has from elsewhere than its ``sys.path`` would say now (``homes``) come from there, these too.
"""

# driver to worker
MAKE, CALL, STOP = 1, 2, 3
# worker to driver
RESULT, ERROR, REFUSED = 11, 12, 13


def main(boot: Mapping[str, Any]) -> None:
    """Serve one actor until the driver says stop or is gone.

    Args:
        boot: ``fd`` (the socket), ``driver`` (its process id), ``grace`` (seconds that a last ``stop()`` may take),
            ``threads`` (of torch, or None), ``plugins`` (what the driver knows of plugins, or None).
    """
    sys.argv = ["rlkit-actor"]
    os.set_inheritable(boot["fd"], False)
    sock = socket.socket(fileno=boot["fd"])
    channel = Channel(sock)
    threading.Thread(
        target=_end_with_driver, args=(sock, boot["driver"], boot["grace"]), daemon=True, name="rlkit-watch"
    ).start()
    worker = _Worker(channel, boot["threads"])
    orphaned = False
    try:
        with unfailing_output():  # what an env prints goes where the driver's output does, and may find nobody there
            worker.serve(boot["plugins"])
    except Closed:
        orphaned = True
    finally:
        worker.stop_actor()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
    if orphaned:
        os.killpg(0, signal.SIGKILL)  # nobody else is there to end what the actor may have started


class _Worker:
    def __init__(self, channel: Channel, threads: int | None) -> None:
        self._channel = channel
        self._threads = threads
        self._actor: Any = None
        self._classes: dict[type, Any] = {}  # that the driver sent by value; held, so that tokens stay true
        self._seen: dict[type, Any] = {}  # those, and others that cloudpickle has met

    def serve(self, plugins: Mapping[str, Any] | None) -> None:
        message = self._channel.receive()
        problem = _difference(plugins)
        if problem:
            self._send(REFUSED, message.call, problem)
            return
        if not self._answer(message, self._make):
            return
        while True:
            message = self._channel.receive()
            if message.kind == STOP:
                return
            self._answer(message, self._call)

    def _answer(self, message: Message, handle: Callable[[Any], Any]) -> bool:
        """Handle a message and send the result or the error; whether it went well."""
        try:
            result = handle(self._load(message))
            packed = self._pack(RESULT, message.call, result)
        except SystemExit:
            raise
        except BaseException as error:
            self._send(ERROR, message.call, describe(error, self._classes))
            return False
        del result
        self._channel.send(packed)
        return True

    def _load(self, message: Message) -> Any:
        tracked = tracked_classes()
        before = len(tracked)
        content = message.load()
        if len(tracked) != before:
            new = {kind: token for kind, token in list(tracked.items()) if kind not in self._seen}
            self._classes.update(new)
            self._seen.update(new)
        return content

    def _pack(self, kind: int, call: int, content: Any) -> Packed:
        tracked = tracked_classes()
        before = len(tracked)
        packed = self._channel.pack(kind, call, content, classes_of_peer=self._classes)
        if len(tracked) != before:  # classes of this process's own making
            self._seen.update(tracked)
        return packed

    def _send(self, kind: int, call: int, content: Any) -> None:
        self._channel.send(self._channel.pack(kind, call, content))

    def _make(self, content: Any) -> None:
        setup, factory, args, kwargs = content
        if self._threads is not None and "torch" in sys.modules:
            _set_torch_threads(self._threads)
        if setup is not None:
            setup()
        self._actor = factory(*args, **kwargs)
        if self._threads is not None and "torch" in sys.modules:
            _set_torch_threads(self._threads)

    def _call(self, content: Any) -> Any:
        method, args, kwargs = content
        if callable(method):
            return method(self._actor, *args, **kwargs)
        return getattr(self._actor, method)(*args, **kwargs)

    def stop_actor(self) -> None:
        stop = getattr(self._actor, "stop", None)
        if stop is not None:
            try:
                stop()
            except Exception:
                traceback.print_exc()


def _set_torch_threads(threads: int) -> None:
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _difference(plugins: Mapping[str, Any] | None) -> str:
    if plugins is None:
        return ""
    from rlkit_core.errors import PluginError
    from rlkit_core.execution.same_plugins import adopt

    try:
        adopt(plugins)
    except PluginError as error:
        return str(error)
    return ""


def describe(error: BaseException, classes: dict[type, Any]) -> tuple[str, str, str, Any]:
    """``(type, message, traceback, the exception or None)``, of which :func:`revive` makes the driver's exception."""
    kind = type(error)
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    text = "".join(traceback.format_exception(kind, error, frames))
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    # The second form skips the constructor of an exception that takes other arguments than it keeps.
    for content in (error, (_remade, (kind, error.args, _plain_state(error)))):
        try:
            portable = to_bytes(content, classes_of_peer=classes)
            if type(_exception(*portable)) is kind:
                return name, _text(error), text, portable
        except Exception:
            continue
    return name, _text(error), text, None


def revive(name: str, message: str, text: str, portable: Any) -> BaseException:
    """The exception that :func:`describe` described: its own type where that can be made here, else an ActorError.

    Its cause is a :class:`RemoteTraceback`, which shows where in the actor it was raised.
    """
    error: BaseException
    try:
        error = _exception(*portable)
    except Exception:
        error = ActorError(f"{name} in an actor: {message}")
    error.__cause__ = RemoteTraceback(text)
    return error


class RemoteTraceback(Exception):  # noqa: N818 - carries text, is never raised
    """Cause of an exception that was raised in an actor; its text is the traceback over there."""

    def __str__(self) -> str:
        return f"\n(in the actor)\n{self.args[0]}"


def _exception(structure: bytes, memory: Any) -> BaseException:
    content = from_bytes(structure, memory)
    if isinstance(content, tuple):
        make, arguments = content
        content = make(*arguments)
    if not isinstance(content, BaseException):
        raise TypeError(f"{content!r} is no exception")
    return content


def _plain_state(error: BaseException) -> dict[str, Any]:
    kept = {}
    for name, value in vars(error).items():
        with contextlib.suppress(Exception):
            from_bytes(*to_bytes(value))
            kept[name] = value
    return kept


def _remade(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<its message cannot be shown>"


def _end_with_driver(sock: socket.socket, driver: int, grace: float) -> None:
    """Wait for the driver's end; then wake the loop, give the actor's ``stop()`` some time, and end this process."""
    poll = select.poll()
    poll.register(sock, 0)  # reports a hang-up only
    tick: float | None = 500
    with contextlib.suppress(AttributeError, OSError):
        poll.register(os.pidfd_open(driver), select.POLLIN)
        tick = None
    while os.getppid() == driver:
        if poll.poll(tick):
            break
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    threading.Event().wait(grace)
    os.killpg(0, signal.SIGKILL)
