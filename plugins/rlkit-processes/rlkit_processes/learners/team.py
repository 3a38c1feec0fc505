"""Learners as actors of an executor: started, connected, asked, and brought together again after a failure."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Concatenate, overload
from weakref import WeakKeyDictionary

import torch

from rlkit_core.errors import ActorError
from rlkit_core.execution import ActorHandle, Executor
from rlkit_core.execution.actor_group import ActorGroup, RestartCap, RestartRefusedError
from rlkit_core.execution.protocol import P, ResultT
from rlkit_core.learner import Learner
from rlkit_core.learner.group.learner_group import make_learner
from rlkit_core.learner.learner_settings import GroupSettings
from rlkit_core.learner.metrics import Key, Reduce
from rlkit_core.models.machine import is_small
from rlkit_core.plugins.used.lock import Lock
from rlkit_core.rl_module import MultiRLModuleSpec, RLModuleSpec
from rlkit_core.seeding import SeedTree
from rlkit_processes.learners.averaging import GradientAveraging
from rlkit_processes.learners.gloo import Collective, PeerError, Rendezvous, device_of_sums, own_address

_LOG = logging.getLogger(__name__)
#: Seconds after one learner's update has failed in which those of the others end.
PATIENCE = 60.0

# -- what runs where a learner is -----------------------------------------------------------------------------------


def make_one_of(
    config: GroupSettings,
    module_spec: MultiRLModuleSpec | RLModuleSpec | None,
    seeds: SeedTree,
    index: int = 0,
    sharing: int = 0,
    visible: str | None = None,
) -> Learner:
    """A built learner of a group.

    Args:
        config: the algorithm's config; a learner that has a GPU to itself takes that of its own index, unless the
            executor shows it others than the driver sees: then it was given those.
        module_spec: spec of its modules.
        seeds: its node of the seed tree.
        index: which learner of its group it is.
        sharing: number of learners that share this machine's cores; 0 leaves torch's threads alone.
        visible: :func:`visible_gpus` of the driver.
    """
    if index and config.num_gpus_per_learner >= 1 and visible_gpus() == visible:
        config = config.copy(copy_frozen=False).change({"local_gpu_idx": config.local_gpu_idx + index})
    learner = make_learner(config, module_spec, seeds)
    if sharing:
        _set_threads(learner, sharing)
    return learner


def visible_gpus() -> str | None:
    """The GPUs that this process is limited to; None where it is not."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def _set_threads(learner: Learner, sharing: int) -> None:
    wanted = learner.config.torch_threads
    if wanted == "auto":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        wanted = 1 if is_small(learner.module) else max(1, cores // sharing)
    if wanted is not None:
        torch.set_num_threads(wanted)


#: Where learners of this process have been asked to meet, until they have joined.
_MEETINGS: WeakKeyDictionary[Learner, Rendezvous] = WeakKeyDictionary()


def _open(learner: Learner, host: str) -> int:
    _MEETINGS.pop(learner, None)
    _MEETINGS[learner] = rendezvous = Rendezvous(host)
    return rendezvous.port


def _join(learner: Learner, rank: int, size: int, host: str, port: int, own_host: str) -> None:
    store = _MEETINGS[learner].store if rank == 0 else None
    device = device_of_sums(learner.device, learner.config.num_gpus_per_learner)
    collective = Collective(rank, size, host=host, port=port, own_host=own_host, store=store, device=device)
    learner.join(GradientAveraging(collective, type(learner).__name__))


def _leave(learner: Learner) -> None:
    learner.peers.leave()  # and not the learner alone: without the others it is not to go on


def _update(learner: Learner, arguments: dict[str, Any]) -> tuple[dict[str, Any], dict[Key, Reduce]]:
    try:
        return learner.update(**arguments), dict(learner.metrics.kinds)
    except BaseException:
        _leave(learner)  # nobody is to wait for this learner
        raise


def _recipe(learner: Learner) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """All that it takes to make another learner like this one."""
    return learner.get_ctor_args_and_kwargs()[1], learner.get_state(), learner.report_dir


def _take_over(learner: Learner, state: dict[str, Any], report_dir: Path | None) -> None:
    learner.set_state(state)
    learner.report_dir = report_dir


# -- the driver's side ----------------------------------------------------------------------------------------------


class Team(ActorGroup[Learner]):
    """The learners of a group behind their executor: connected, and brought together again after a failure.

    Args:
        executor: runs them.
        config: the algorithm's config.
        module_spec: spec of the modules to train.
        seeds: node of the seed tree, the same for all: learners begin with equal weights.
        size: number of learners.
        owns_executor: whether stopping the learners stops the executor.
        used: what learners use of what is installed; see :class:`ActorGroup`.

    Attributes:
        newest_checkpoint: of the run; named where learners are lost for good.
    """

    def __init__(
        self,
        executor: Executor,
        config: GroupSettings,
        module_spec: MultiRLModuleSpec | RLModuleSpec | None,
        seeds: SeedTree,
        *,
        size: int,
        owns_executor: bool,
        used: Callable[[], Lock] | None = None,
    ) -> None:
        self._seeds, self.size = seeds, size
        self._sharing = 0 if executor.in_process else size
        self._gpu = config.local_gpu_idx
        # Of learners that are started from now on.
        self._config, self._module_spec = config if executor.in_process else config.without_callbacks(), module_spec
        self._apart = self._stopped = False
        self.newest_checkpoint: str | None = None
        restarts = config.max_num_learner_restarts
        cap = RestartCap(restarts, f"fault_tolerance(max_num_learner_restarts={restarts}) allows no more restarts")
        super().__init__(executor, range(size), cap=cap, owns_executor=owns_executor, used=used)
        try:
            self._connect()
        except BaseException:
            self.stop()
            raise

    def spawn(self, number: int, start: int) -> ActorHandle[Learner]:
        """Begin to make a learner."""
        about = self._config, self._module_spec, self._seeds
        return self.executor.spawn(make_one_of, *about, number, self._sharing, visible_gpus())

    def _connect(self) -> None:
        if self.size == 1:
            return
        asked = [actor.call(lambda learner: own_address()) for actor in self.actors]
        machines, hosts = zip(*(future.result() for future in asked), strict=True)
        if len(set(machines)) == 1:
            hosts = ("127.0.0.1",) * self.size
        port = self.actors[0].call(_open, hosts[0]).result()
        self.each(_join, [(rank, self.size, hosts[0], port, own_host) for rank, own_host in enumerate(hosts)])
        self._apart = False

    @property
    def actors(self) -> list[ActorHandle[Learner]]:
        """The learners' handles, in order."""
        return list(self.members.values())

    # -- calls --------------------------------------------------------------------------------------------------------

    @overload
    def first(
        self, method: Callable[Concatenate[Learner, P], ResultT], /, *args: P.args, **kwargs: P.kwargs
    ) -> ResultT: ...

    @overload
    def first(self, method: str, /, *args: object, **kwargs: object) -> Any: ...

    def first(self, method: str | Callable[..., Any], /, *args: object, **kwargs: object) -> Any:
        """Call the first learner, which stands for all; once more where it died meanwhile."""
        return self._twice(lambda: self.actors[0].call(method, *args, **kwargs).result())

    @overload
    def all(
        self, method: Callable[Concatenate[Learner, P], ResultT], /, *args: P.args, **kwargs: P.kwargs
    ) -> list[ResultT]: ...

    @overload
    def all(self, method: str, /, *args: object, **kwargs: object) -> list[Any]: ...

    def all(self, method: str | Callable[..., Any], /, *args: object, **kwargs: object) -> list[Any]:
        """Call every learner with the same arguments; results in their order."""
        self.heal()
        return self.results(list(self.call(method, *args, **kwargs).values()))

    def all_alike(self, method: str | Callable[..., Any], /, *args: object, **kwargs: object) -> list[Any]:
        """As :meth:`all`, once more where a learner died meanwhile: for what may be done twice."""
        return self._twice(lambda: self.results(list(self.call(method, *args, **kwargs).values())))

    def _twice(self, ask: Callable[[], ResultT]) -> ResultT:
        self.heal()
        try:
            return ask()
        except ActorError as error:
            if not self.recover(error):
                raise
            return ask()

    def each(self, method: str | Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Call every learner, each with its own arguments; results in their order."""
        return self.results([actor.call(method, *own) for actor, own in zip(self.actors, arguments, strict=True)])

    def start_update(self, arguments: Sequence[dict[str, Any]]) -> list[Future[Any]]:
        """Let every learner begin an update, each with its own arguments."""
        futures: list[Future[Any]] = []
        for actor, own in zip(self.actors, arguments, strict=True):
            futures.append(actor.call(_update, own))
            if len(futures) == 1 and futures[0].done() and futures[0].exception() is not None:
                break  # arguments that cannot be sent, or a learner that is gone: nobody is to wait for it
        return futures

    def results(self, futures: Sequence[Future[ResultT]], *, patience: float | None = None) -> list[ResultT]:
        """Wait for all learners.

        Args:
            futures: one for each learner, in their order.
            patience: seconds after one has failed in which the others come back; then they are ended.

        Raises:
            Exception: that of the learner which failed, in its own type, when all have come back.
        """
        self.wait(dict(enumerate(futures)), on_failure=self.disband, patience=patience)
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            self.disband()
            raise min(errors, key=lambda error: (isinstance(error, PeerError), _is_of_another(error)))
        return [future.result() for future in futures]

    # -- after a failure ----------------------------------------------------------------------------------------------

    def disband(self) -> None:
        """Let learners that wait for a failed one go on with an error. :meth:`heal` brings them together again."""
        if self.size > 1 and not self._apart:
            self._apart = True
            for actor in self.actors:
                if actor.alive:
                    actor.call(_leave)

    @property
    def broken(self) -> bool:
        """Whether learners are gone, or have left each other after a failure."""
        return not self._stopped and (self._apart or bool(self.dead))

    def heal(self) -> None:
        """Start learners that are gone again, give all the state of a survivor, and connect them.

        Raises:
            ActorError: no learner survived, or there were too many restarts.
        """
        while self.broken:
            dead = self.dead
            if len(dead) == self.size:
                raise ActorError(
                    f"no learner of {self.size} is left, so there is no state to go on from; {self._remedy()}. The "
                    f"first one: {self._end_of(0)}"
                )
            try:
                self._come_together(dead)
            except RestartRefusedError as refused:
                raise ActorError(
                    f"learner {dead[0]} of {self.size} is gone, and {refused}; {self._remedy()}. How it ended: "
                    f"{self._end_of(dead[0])}"
                ) from None
            except ActorError:
                if not self.dead:
                    raise  # and not because one has died meanwhile: one more, or one that had just been started

    def _come_together(self, dead: Sequence[int]) -> None:
        self._apart = True
        survivor = next(index for index in self.members if index not in dead)
        made, state, report_dir = self.actors[survivor].call(_recipe).result()
        self._config = made["config"].copy(copy_frozen=False).change({"local_gpu_idx": self._gpu})
        self._module_spec = made["module_spec"]
        self.restart(dead)
        others = [actor for index, actor in enumerate(self.actors) if index != survivor]
        for future in [actor.call(_take_over, state, report_dir) for actor in others]:
            future.result()
        self._connect()

    def _remedy(self) -> str:
        if self.newest_checkpoint is None:
            return "no checkpoint was written in this process: restore an older one, or begin anew"
        return f"the newest checkpoint is {self.newest_checkpoint}: restore it into a new algorithm"

    def _end_of(self, index: int) -> BaseException | None:
        """How a learner that is gone has ended."""
        return self.actors[index].call("get_weights").exception()

    def recover(self, error: BaseException) -> bool:
        """Whether the failure was that of a learner which is gone, and the group is whole again.

        Raises:
            ActorError: it cannot be.
        """
        dead = self.dead
        if self._stopped or not isinstance(error, ActorError) or not dead:
            return False
        self.heal()
        _LOG.warning("learner %s of %s was started again: %s", dead[0], self.size, error)
        return True

    def stop(self) -> None:
        """End all learners; a second call does nothing."""
        if self._stopped:
            return
        self._stopped = True
        for actor in self.actors:
            if actor.alive:
                actor.call(_leave)
                actor.call("shutdown")
        super().stop()


def _is_of_another(error: BaseException) -> bool:
    """Whether the error only says that another learner's loss is not finite."""
    return bool(getattr(error, "of_another_learner", False))
