"""Actors of one kind behind an executor: spawned, called together, waited for, started again; and no more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Concatenate, Generic, overload

from attrs import frozen

from rlkit_core.errors import ActorError
from rlkit_core.execution.protocol import ActorHandle, ActorT, Executor, P, ResultT
from rlkit_core.execution.same_plugins import workers_use
from rlkit_core.plugins.used.lock import Lock


class RestartRefusedError(ActorError):
    """An actor that is gone may not be started again; the message says why."""


@frozen
class RestartCap:
    """How often the actors of a group are started again.

    Attributes:
        restarts: at most so often, over all of them.
        reason: what is said then; it names the setting.
        futile: one that dies so often in a row, without an answer in between, is not started again; None: it always is.
    """

    restarts: int
    reason: str
    futile: int | None = None


class ActorGroup(ABC, Generic[ActorT]):
    """Actors that are made alike, each with a number of its own. A subclass says how: :meth:`spawn`.

    Args:
        executor: runs them.
        numbers: the actors' numbers.
        cap: how often they may be started again.
        owns_executor: whether stopping the group stops the executor with all its actors.
        used: what the actors use of what is installed, asked before each of them is made in another process; None: core
            and libraries.

    Attributes:
        members: handles by number, in their order.
        num_restarts: how often one was started again.

    Raises:
        Exception: what making one raised. Nothing is tried again, for it would fail again; the others are stopped.
    """

    def __init__(
        self,
        executor: Executor,
        numbers: Iterable[int],
        *,
        cap: RestartCap,
        owns_executor: bool,
        used: Callable[[], Lock] | None = None,
    ) -> None:
        self.executor, self.cap, self._used = executor, cap, used
        self._owns_executor = owns_executor
        self._starts: dict[int, int] = {}
        self._deaths: dict[int, int] = {}  # since it answered last
        self.members: dict[int, ActorHandle[ActorT]] = {}
        self.num_restarts = 0
        try:
            for number in numbers:
                self._start(number)
            for actor in self.members.values():
                actor.ready.result()
        except BaseException:
            self.stop()
            raise

    def __len__(self) -> int:
        return len(self.members)

    @abstractmethod
    def spawn(self, number: int, start: int) -> ActorHandle[ActorT]:
        """Begin to make an actor, which was made ``start`` times before."""

    def _start(self, number: int) -> None:
        used = None if self._used is None or self.executor.in_process else self._used()
        with workers_use(used):
            self.members[number] = self.spawn(number, self._starts.get(number, 0))
        self._starts[number] = self._starts.get(number, 0) + 1
        if self.executor.in_process:  # where all draw from one random state, one is made after the other
            self.members[number].ready.result()

    # -- calls --------------------------------------------------------------------------------------------------------

    @overload
    def call(
        self, method: Callable[Concatenate[ActorT, P], ResultT], /, *args: P.args, **kwargs: P.kwargs
    ) -> dict[int, Future[ResultT]]: ...

    @overload
    def call(self, method: str, /, *args: object, **kwargs: object) -> dict[int, Future[Any]]: ...

    def call(self, method: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> dict[int, Future[Any]]:
        """Call every actor with the same arguments: futures by number."""
        return {number: actor.call(method, *args, **kwargs) for number, actor in self.members.items()}

    def wait(
        self,
        futures: Mapping[int, Future[ResultT]],
        *,
        on_failure: Callable[[], object] = lambda: None,
        patience: float | None = None,
    ) -> None:
        """Wait until all calls, by the number of the actor that was called, are complete, whatever they give.

        Args:
            on_failure: called once when the first has failed while others run.
            patience: seconds from then on in which the others come back; those that do not are ended.
        """
        pending, failed = list(futures.values()), False
        while pending:
            done, pending = self.executor.wait(pending, timeout=patience if failed else None)
            if not done:
                for number, future in futures.items():
                    if future in pending:
                        self.executor.stop(self.members[number])
                return
            if pending and not failed and any(future.exception() is not None for future in done):
                failed = True
                on_failure()

    # -- deaths -------------------------------------------------------------------------------------------------------

    @property
    def dead(self) -> list[int]:
        """Numbers of the actors that are gone."""
        return [number for number, actor in self.members.items() if not actor.alive]

    def answered(self, number: int) -> None:
        """Note that an actor has answered, so that its deaths so far were not futile."""
        self._deaths[number] = 0

    def restart(self, numbers: Collection[int]) -> None:
        """Start actors that are gone again: all, or none.

        Raises:
            RestartRefusedError: they may not be.
        """
        for number in numbers:
            self.executor.stop(self.members[number])
            self._deaths[number] = self._deaths.get(number, 0) + 1
        if self.num_restarts + len(numbers) > self.cap.restarts:
            raise RestartRefusedError(self.cap.reason)
        futile = self.cap.futile
        if futile is not None and any(self._deaths[number] >= futile for number in numbers):
            raise RestartRefusedError(f"it died {futile} times in a row without an answer in between")
        self.num_restarts += len(numbers)  # those that fail count: nobody tries for ever
        for number in numbers:
            self._start(number)

    def give_up(self, number: int) -> None:
        """Go on without an actor."""
        self.executor.stop(self.members.pop(number))

    def stop(self) -> None:
        """Stop every actor."""
        if self._owns_executor:
            self.executor.stop()
        else:
            for actor in self.members.values():
                self.executor.stop(actor)
