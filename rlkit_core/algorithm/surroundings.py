"""What training finds in its process, as long as it takes: torch's threads, and global random numbers of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.envs.resume.promise import GLOBALLY_DRAWN
from rlkit_core.errors import ActorError
from rlkit_core.models.machine import takes_small_steps, torch_threads
from rlkit_core.seeding import GlobalGenerators, SeedTree

_log = logging.getLogger("rlkit_core.algorithm")


class _Algorithm(Protocol):
    config: Any
    env_runner_group: EnvRunnerGroup


class Surroundings:
    """Torch's thread count, and ``random`` and ``np.random`` for who draws from them; both are put back afterwards.

    Args:
        seeds: of the run.
    """

    def __init__(self, seeds: SeedTree) -> None:
        self._generators = GlobalGenerators(seeds.child("global").seed())
        self._said = self._ended = False

    @contextmanager
    def building(self) -> Iterator[None]:
        """While envs are made."""
        with self._generators.scope():
            yield

    @contextmanager
    def training(self, algorithm: _Algorithm) -> Iterator[None]:
        """While an algorithm trains.

        Raises:
            ActorError: it was stopped.
        """
        with self._threads(algorithm), self._generators.scope():
            yield

    @contextmanager
    def evaluation(self, algorithm: _Algorithm, seeds: SeedTree) -> Iterator[None]:
        """While it is evaluated, with random numbers of the evaluation's seeds: training's go on where they were.

        Raises:
            ActorError: it was stopped.
        """
        with self._threads(algorithm), GlobalGenerators(seeds.child("global").seed()).scope():
            yield

    def end(self) -> None:
        """The algorithm is stopped."""
        self._ended = True

    def _threads(self, algorithm: _Algorithm) -> AbstractContextManager[None]:
        if self._ended:
            raise ActorError(
                f"this {type(algorithm).__name__} was stopped; build another, or use from_checkpoint(path)"
            )
        wanted: int | str | None = algorithm.config.torch_threads
        if not isinstance(wanted, int):
            module = algorithm.env_runner_group.module_as_it_was
            wanted = 1 if wanted == "auto" and takes_small_steps(module, algorithm.config) else None
        return torch_threads(wanted)

    def not_exact(self) -> list[str]:
        """What keeps a resumed run from being equal, as far as it shows here."""
        return [GLOBALLY_DRAWN] if self._generators.drawn else []

    def say_once(self, reasons: Sequence[str]) -> None:
        """Warn, the first time, of what keeps a resumed run from being equal to this one."""
        for reason in () if self._said else reasons:
            _log.warning("a run resumed from this checkpoint may differ from the one that goes on: %s", reason)
        self._said = True

    def get_state(self) -> dict[str, Any]:
        """Where the generators are."""
        return self._generators.get_state()

    def set_state(self, state: Mapping[str, Any] | None) -> None:
        """Go on from :meth:`get_state`, if there is one."""
        if state is not None:
            self._generators.set_state(state)
