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
from collections.abc import Callable, Mapping
from typing import Any

from rlkit_core.run.output import unfailing_output
from rlkit_processes import served
from rlkit_processes.channel import Channel, Closed, Message
from rlkit_processes.codec import ClassesOfPeer
from rlkit_processes.remote_errors import describe

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
        worker.served.stop()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
    if orphaned:
        os.killpg(0, signal.SIGKILL)  # nobody else is there to end what the actor may have started


class _Worker:
    def __init__(self, channel: Channel, threads: int | None) -> None:
        self._channel = channel
        self.served = served.Served(threads)
        self._classes = ClassesOfPeer()

    def serve(self, plugins: Mapping[str, Any] | None) -> None:
        message = self._channel.receive()
        problem = served.difference(plugins)
        if problem:
            self._send(REFUSED, message.call, problem)
            return
        if not self._answer(message, self.served.make):
            return
        while True:
            message = self._channel.receive()
            if message.kind == STOP:
                return
            self._answer(message, self.served.call)

    def _answer(self, message: Message, handle: Callable[[Any], Any]) -> bool:
        """Handle a message and send the result or the error; whether it went well."""
        try:
            content = message.load()
            self._classes.received()
            result = handle(content)
            packed = self._channel.pack(RESULT, message.call, result, classes_of_peer=self._classes)
            self._classes.sent()
        except SystemExit:
            raise
        except BaseException as error:
            self._send(ERROR, message.call, describe(error, self._classes, (__file__, served.__file__)))
            return False
        del content, result
        self._channel.send(packed)
        return True

    def _send(self, kind: int, call: int, content: Any) -> None:
        self._channel.send(self._channel.pack(kind, call, content))


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
