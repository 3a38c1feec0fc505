"""What runs in Ray's worker processes."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

from rlkit_core.execution.foreign_code import shadowed_packages
from rlkit_processes import served
from rlkit_processes.codec import ClassesOfPeer
from rlkit_processes.remote_errors import describe
from rlkit_ray import transport
from rlkit_ray.transport import ERROR, REFUSED, RESULT, Message


def surroundings() -> dict[str, Any]:
    """Where this process finds its code, for :meth:`Actor.make`."""
    return {"machine": socket.gethostname(), "path": list(sys.path), "homes": shadowed_packages()}


class Actor:
    """The one class of actors that Ray knows; an actor of ours lives in each."""

    def __init__(self) -> None:
        self._served = served.Served(None)
        self._classes = ClassesOfPeer()
        self._unmade: Message | None = None  # why there is no actor

    def hello(self) -> tuple[str, int]:
        """``(machine, process id)``: answered as soon as there is a process."""
        return socket.gethostname(), os.getpid()

    def make(
        self, driver: Mapping[str, Any], plugins: Mapping[str, Any], threads: int | None, message: Message
    ) -> Message:
        """Make the actor, with the driver's code and plugins."""
        _look_where(driver)
        problem = served.difference(plugins)
        if problem:
            made, answer = False, transport.pack((REFUSED, problem))
        else:
            self._served = served.Served(threads)
            made, answer = self._answer(self._served.make, message)
        self._unmade = None if made else answer
        return answer

    def call(self, message: Message) -> Message:
        """Call the actor."""
        return self._unmade or self._answer(self._served.call, message)[1]

    def stop(self) -> None:
        """Call the actor's ``stop()``."""
        self._served.stop()

    def _answer(self, handle: Callable[[Any], Any], message: Message) -> tuple[bool, Message]:
        """Whether it went well, and the message for the driver."""
        try:
            content = transport.unpack(message)
            self._classes.received()
            answer = transport.pack((RESULT, handle(content)), self._classes)
            self._classes.sent()
        except SystemExit:
            raise
        except BaseException as error:
            files = (__file__, served.__file__)
            return False, transport.pack((ERROR, describe(error, self._classes, files)))
        return True, answer


class Board:
    """Holds what was published last at each place: the version, and Ray's reference to the content."""

    def __init__(self) -> None:
        self._latest: dict[int, tuple[int, list[Any]]] = {}

    def put(self, place: int, version: int, content: list[Any]) -> None:
        """Make ``content`` (the reference, in a list so that Ray leaves it one) the latest."""
        self._latest[place] = (version, content)

    def latest(self, place: int, known: int | None) -> tuple[int, list[Any]] | None:
        """What is there; None before the first, and when ``known`` is the latest."""
        found = self._latest.get(place)
        return None if found is None or found[0] == known else found

    def forget(self, place: int) -> None:
        """Let go of what is there."""
        self._latest.pop(place, None)


class _AsInDriver:
    """Finds packages where the driver has them."""

    def __init__(self, homes: Mapping[str, str]) -> None:
        self._homes = homes

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [self._homes[name]]) if name in self._homes else None


def _look_where(driver: Mapping[str, Any]) -> None:
    """Find modules as the driver does; on another machine, after those of its own."""
    here = driver["machine"] == socket.gethostname()
    order = [*driver["path"], *sys.path] if here else [*sys.path, *driver["path"]]
    sys.path[:] = list(dict.fromkeys(order))
    if here and driver["homes"]:
        sys.meta_path.insert(0, _AsInDriver(driver["homes"]))
