"""A stopwatch that counts every moment for one part of the work, and swaps itself in only while it runs."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from rlkit_core.envs.runner_base import Runner

ENV, ACTING, IDLE = "env", "acting", "idle"
"""Parts of what a runner does: stepping and resetting envs, all else of sampling, and nothing."""

Part = str | Callable[..., str | None]
"""A part, or what makes one of a function's positional arguments; None: what goes on in any case."""

_F = TypeVar("_F", bound=Callable[..., Any])


class Stopwatch:
    """Seconds by part. What a part calls that is a part of its own counts for that one alone, so they add up.

    It is of the thread that makes it; what it has swapped in times no other.

    Args:
        part: what goes on now.
    """

    def __init__(self, part: str) -> None:
        self._part, self._since = part, time.perf_counter()
        self._seconds: dict[str, float] = {part: 0.0}
        self._thread = threading.get_ident()
        self._swapped: list[tuple[object, str, object]] = []

    def switch(self, part: str) -> str:
        """From now on ``part`` goes on; what went on until now."""
        now, before = time.perf_counter(), self._part
        self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
        self._part, self._since = part, now
        return before

    def read(self) -> dict[str, float]:
        """Seconds by part, up to now."""
        self.switch(self._part)
        return dict(self._seconds)

    def timed(self, part: Part, function: _F) -> _F:
        """A function that does the same, as a part."""

        @functools.wraps(function)
        def call(*args: object, **kwargs: object) -> object:
            if threading.get_ident() != self._thread:
                return function(*args, **kwargs)
            before = self.switch(part if isinstance(part, str) else part(*args) or self._part)
            try:
                return function(*args, **kwargs)
            finally:
                self.switch(before)

        return call  # type: ignore[return-value]

    def time(self, owner: object, method: str, part: Part) -> None:
        """Count a method of an object as a part, until :meth:`swap_back`."""
        self.swap(owner, method, functools.partial(self.timed, part))

    def swap(self, owner: object, method: str, make: Callable[[Any], object]) -> None:
        """Put ``make(method)`` in the place of a method of an object, until :meth:`swap_back`; once for each."""
        if any(one is owner and name == method for one, name, _ in self._swapped):
            return
        new = make(getattr(owner, method))
        try:
            setattr(owner, method, new)
        except AttributeError:  # an object with slots has no room for it: what it does is not told apart
            return
        self._swapped.append((owner, method, new))

    def swap_back(self) -> None:
        """Leave every object as it was."""
        for owner, method, new in reversed(self._swapped):
            if vars(owner).get(method) is new:
                delattr(owner, method)
        self._swapped = []


def watch_runner(runner: Runner, watch: Stopwatch | None = None) -> None:
    """Let a stopwatch time what a runner does when it samples; one of its own unless given."""
    own = watch or Stopwatch(IDLE)

    def sampling(sample: Callable[..., object]) -> Callable[..., object]:
        timed = own.timed(ACTING, sample)

        def call(*args: object, **kwargs: object) -> object:
            for env in _envs(runner):  # one that failed may have been made anew
                for method in ("step", "reset", "reset_some"):
                    if hasattr(env, method):
                        own.time(env, method, ENV)
            return timed(*args, **kwargs)

        return call

    own.swap(runner, "sample", sampling)
    if watch is None:
        runner.stopwatch = own  # type: ignore[attr-defined]


def read_runner(runner: Runner) -> dict[str, float]:
    """What :func:`watch_runner` has counted with a stopwatch of its own, which ends; {} where it is another runner."""
    watch: Stopwatch | None = vars(runner).pop("stopwatch", None)
    if watch is None:
        return {}
    watch.swap_back()
    return watch.read()


def _envs(runner: object) -> list[Any]:
    """A vector of envs, or envs with several agents one by one."""
    vector = getattr(runner, "env", None)
    return [played.env for played in getattr(runner, "envs", ())] if vector is None else [vector]
