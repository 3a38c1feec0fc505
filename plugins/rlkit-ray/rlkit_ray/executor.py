"""The executor of a Ray cluster: one Ray actor per actor."""

from __future__ import annotations

import concurrent.futures
import os
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from rlkit_ray import cluster
from rlkit_ray.actor import Board
from rlkit_ray.cluster import Cluster, ray
from rlkit_ray.handle import RayActor
from rlkit_ray.published import RayPublished

ActorT = TypeVar("ActorT")
ResultT = TypeVar("ResultT")
P = ParamSpec("P")

URGENT_S = 1.0
"""Seconds that actors have to stop when somebody interrupts the program."""
STOP_S = 5.0
"""Seconds that they have otherwise, for their last call and their ``stop()``."""


class RayExecutor:
    """Runs each actor in a process of a Ray cluster; implements :class:`~rlkit_core.execution.protocol.Executor`.

    The first actor joins the cluster that this process is connected to, else that at ``address``, of ``RAY_ADDRESS`` or
    running on this machine, else one is started here. One that was started ends with the last executor.

    Args:
        address: of the cluster, ``"host:port"`` or ``"auto"``; ``"local"`` starts one.
        runner_options: of the Ray actors of runners, as Ray's ``options()`` takes them; they are spread over the nodes
            unless given.
        learner_options: those of learners.
        evaluation_options: those of runners that evaluate; None: as of other runners.
        start_timeout: seconds in which the cluster has to find room for an actor.
        role: whose actors these are: ``"runner"``, ``"learner"`` or ``"evaluation"``.
    """

    in_process = False
    concurrent = True

    def __init__(
        self,
        *,
        address: str | None = None,
        runner_options: Mapping[str, Any] | None = None,
        learner_options: Mapping[str, Any] | None = None,
        evaluation_options: Mapping[str, Any] | None = None,
        start_timeout: float = 60.0,
        role: str = "runner",
    ) -> None:
        self.threads: int | None = 1
        self._address, self._start_timeout = address, start_timeout
        options = {"learner": learner_options, "evaluation": evaluation_options or runner_options}
        self._options = dict(options.get(role, runner_options) or {})
        self._actors: list[RayActor[Any]] = []
        self._tie: list[Cluster] = []
        self._board: Any = None
        self._finalizer = weakref.finalize(self, _finish, self._actors, self._tie, os.getpid())

    def spawn(self, factory: Callable[P, ActorT], /, *args: P.args, **kwargs: P.kwargs) -> RayActor[ActorT]:
        """Have Ray start a process that makes an actor by ``factory(*args, **kwargs)``; does not wait for it.

        Raises:
            ActorError: there is no cluster to join.
            ValueError, TypeError: Ray does not know an option.
            Exception: the factory or an argument cannot be pickled.
        """
        tie, options = self._connected(), dict(self._options)
        if ray.util.get_current_placement_group() is None:
            options.setdefault("scheduling_strategy", "SPREAD")
        actor = RayActor((factory, args, kwargs), tie, options, self.threads, self._start_timeout)
        self._actors.append(actor)
        return actor

    def published(self) -> RayPublished:
        """A place in Ray's object store for arrays that the driver writes by version and all actors read."""
        self._connected()
        if self._board is None:  # beside the driver, with which it ends
            here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                ray.get_runtime_context().get_node_id(), soft=False
            )
            self._board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
        return RayPublished(self._board)

    def _connected(self) -> Cluster:
        if not self._tie:
            self._tie.append(cluster.acquire(self._address))
        return self._tie[0]

    def wait(
        self, futures: Sequence[Future[ResultT]], *, timeout: float | None = None
    ) -> tuple[list[Future[ResultT]], list[Future[ResultT]]]:
        """Wait for at least one future: ``(done, not_done)``, both in the given order."""
        done, _ = concurrent.futures.wait(futures, timeout=timeout, return_when=concurrent.futures.FIRST_COMPLETED)
        return [f for f in futures if f in done], [f for f in futures if f not in done]

    def restart(self, handle: RayActor[ActorT]) -> RayActor[ActorT]:
        """Make an actor anew with its original arguments; the old one, if it lives, has a second to stop."""
        _stop([handle], URGENT_S)
        factory, args, kwargs = handle.recipe
        return self.spawn(factory, *args, **kwargs)

    def stop(self, handle: RayActor[Any] | None = None) -> None:
        """End one actor, or all: ask, wait, kill. Open futures complete with ActorError.

        While a KeyboardInterrupt is handled, whoever waits wants it over: actors have a second at most then.
        """
        is_urgent = isinstance(sys.exc_info()[1], KeyboardInterrupt)
        try:
            _stop(list(self._actors) if handle is None else [handle], URGENT_S if is_urgent else STOP_S)
        finally:
            self._actors[:] = [actor for actor in self._actors if actor.alive]
            if handle is None:
                if self._board is not None and self._tie and self._tie[0].connected:
                    ray.kill(self._board)
                self._board = None
                _leave(self._tie)

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _stop(actors: Sequence[RayActor[Any]], timeout: float) -> None:
    try:
        asked = [reference for actor in actors if (reference := actor.ask_to_stop()) is not None]
        if asked:
            ray.wait(asked, num_returns=len(asked), timeout=timeout)
    finally:  # a second Ctrl-C ends the waiting, not the cleaning
        for actor in actors:
            actor.kill()


def _leave(tie: list[Cluster]) -> None:
    while tie:
        cluster.release(tie.pop())


def _finish(actors: list[RayActor[Any]], tie: list[Cluster], owner: int) -> None:
    if os.getpid() == owner and tie:  # a forked child has no say over its parent's actors
        if tie[0].connected:
            _stop(list(actors), URGENT_S)
        _leave(tie)
