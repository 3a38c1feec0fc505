"""Where the time of a block goes: ``with algo.profile() as profile: ...``, and ``rlkit train --profile``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rlkit_core.algorithm.callbacks import Callbacks
from rlkit_core.algorithm.results import Timed, Timers
from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.envs.events import Callback
from rlkit_core.envs.stopwatch import Stopwatch, read_runner, watch_runner
from rlkit_core.plugins.discovery import CORE
from rlkit_core.plugins.guard import Origin
from rlkit_core.plugins.host import default_host

OTHER = "other"
"""What no part is known of."""

_PARTS = {"sample": "sampling", "learner_update": "learner", "synch_weights": "sync", "iteration": OTHER}


class Measured(Protocol):
    """What is asked of an algorithm here."""

    timers: Timers
    callbacks: Callbacks
    env_runner_group: EnvRunnerGroup

    @property
    def num_env_steps_sampled_lifetime(self) -> int:
        """Env steps so far."""


class Profile:
    """Seconds by part of the work: every moment belongs to one, so they add up to the whole.

    ``env`` is stepping and resetting envs, ``acting`` all else that a runner does, ``sampling`` the rest around it
    (where runners are in processes: waiting for them), ``learner`` and ``sync`` updates and weights, ``callbacks`` your
    own, ``plugin NAME`` the callbacks, observers and writers of a plugin. Further parts are the algorithm's own timers,
    such as ``replay_buffer_add``, and what :meth:`timed` is given.

    Args:
        part: what goes on until :meth:`of` begins; nothing that counts unless given.

    Attributes:
        parts: seconds by part, the longest first.
        runners: the same of runners in processes, each by its own clock, added up; ``{}`` where there is none.
        num_runners: how many these were.
        env_steps: env steps that were sampled meanwhile.
    """

    def __init__(self, part: str | None = None) -> None:
        self._watch = None if part is None else Stopwatch(part)
        self.parts: dict[str, float] = {}
        self.runners: dict[str, float] = {}
        self.num_runners = self.env_steps = 0

    # -- measuring ----------------------------------------------------------------------------------------------------

    @contextmanager
    def of(self, algorithm: Measured) -> Iterator[Profile]:
        """Measure what an algorithm does in a block."""
        group, local = algorithm.env_runner_group, algorithm.env_runner_group.local_env_runner
        if local is None:
            group.foreach_env_runner(watch_runner)
        watch = self._watch = self._watch or Stopwatch(OTHER)
        watch.switch(OTHER)
        steps_before = algorithm.num_env_steps_sampled_lifetime
        watch.swap(algorithm.timers, "time", functools.partial(_phases, watch))
        watch.time(algorithm.callbacks, "tell", _of_callback)
        watch.time(default_host().watchers, "call", _of_watcher)
        if local is not None:
            watch_runner(local, watch)
        try:
            yield self
        finally:
            watch.swap_back()
            self.parts = _longest_first(watch.read())
            self.env_steps = algorithm.num_env_steps_sampled_lifetime - steps_before
        if local is None:
            self._add_runners(group.foreach_env_runner(read_runner))

    def timed(self, owner: object, method: str, part: str) -> None:
        """Count a method of an object as a part, in a block of :meth:`of`."""
        if self._watch is not None:
            self._watch.time(owner, method, part)

    def _add_runners(self, found: list[dict[str, float]]) -> None:
        for one in filter(None, found):
            self.num_runners += 1
            for part, seconds in one.items():
                self.runners[part] = self.runners.get(part, 0.0) + seconds
        self.runners = _longest_first(self.runners)

    # -- saying -------------------------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Of all parts."""
        return sum(self.parts.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON data: ``seconds``, ``env_steps``, and of each part ``seconds``, ``share`` and ``us_per_env_step``."""
        return {
            "seconds": self.seconds,
            "env_steps": self.env_steps,
            "parts": self._rows(self.parts),
            "num_runners": self.num_runners,
            "runners": self._rows(self.runners),
        }

    def _rows(self, parts: Mapping[str, float]) -> dict[str, dict[str, float]]:
        whole, steps = max(sum(parts.values()), 1e-9), max(self.env_steps, 1)
        return {
            name: {"seconds": seconds, "share": seconds / whole, "us_per_env_step": 1e6 * seconds / steps}
            for name, seconds in parts.items()
        }

    def __str__(self) -> str:
        """A table."""
        lines = [f"where the time went: {self.seconds:.2f} s, {self.env_steps:,} env steps"]
        lines += self._table(self.parts)
        if self.runners:
            lines += [f"in {self.num_runners} runners elsewhere, each by its own clock, added up:"]
            lines += self._table(self.runners)
        return "\n".join(lines)

    def _table(self, parts: Mapping[str, float]) -> list[str]:
        width = max(map(len, ("part", *parts)))
        lines = [f"  {'part':<{width}}  {'seconds':>9}  {'share':>6}  {'µs a step':>10}"]
        for name, row in self._rows(parts).items():
            numbers = f"{row['seconds']:>9.2f}  {row['share']:>6.1%}  {row['us_per_env_step']:>10.2f}"
            lines.append(f"  {name:<{width}}  {numbers}")
        return lines


class _Phase:
    """A block that an algorithm's timer measures, as a part of a profile."""

    __slots__ = ("_before", "_part", "_timed", "_watch")

    def __init__(self, timed: Timed, watch: Stopwatch, part: str) -> None:
        self._timed, self._watch, self._part = timed, watch, part

    def __enter__(self) -> None:
        self._before = self._watch.switch(self._part)
        self._timed.__enter__()

    def __exit__(self, *exc_info: object) -> None:
        self._timed.__exit__(*exc_info)
        self._watch.switch(self._before)


def _phases(watch: Stopwatch, time: Callable[[str], Timed]) -> Callable[[str], _Phase]:
    return lambda name: _Phase(time(name), watch, _PARTS.get(name, name))


def _of_callback(callback: Callback, *rest: object) -> str:
    return "callbacks" if callback.distribution is None else f"plugin {callback.distribution}"


def _of_watcher(origin: Origin, *rest: object) -> str | None:
    return None if origin.distribution == CORE else f"plugin {origin.distribution}"


def _longest_first(parts: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(parts.items(), key=lambda one: -one[1]))
