"""Learners in processes that ``torchrun`` starts, each running the same program: they average their gradients."""

from __future__ import annotations

import itertools
import os

from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

from rlkit_core.errors import RLKitError
from rlkit_core.execution.foreign_code import dumps, loads
from rlkit_core.learner import Learner
from rlkit_processes.learners.averaging import GradientAveraging
from rlkit_processes.learners.gloo import TIMEOUT, Collective, device_of_sums, own_address

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_meetings = itertools.count()


def join(learner: Learner) -> None:
    """Let the learner of this process learn together with those of all the other ranks.

    Every rank calls it, with learners that were made alike. They go on from the state of rank 0's: weights, optimizers,
    random state. From then on they make the same updates, each on its own rows. When one of them fails or ends, updates
    of the others raise :class:`~rlkit_processes.learners.gloo.PeerError`.

    Args:
        learner: of this process, ``algo.learner_group.learner``. An algorithm's ``sync_weights()`` then tells its
            runners what it has learned from rank 0.

    Raises:
        RLKitError: torchrun has not started this process.
        PeerError: the others do not come.
    """
    missing = [name for name in _VARIABLES if name not in os.environ]
    if missing:
        raise RLKitError(
            f"join() is for a program that torchrun starts, and {', '.join(missing)} is not set: start it by "
            "`torchrun --nproc-per-node 2 FILE`, or let learners(num_learners=2) start learners from one process"
        )
    world, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
    store = PrefixStore(f"rlkit/{next(_meetings)}", world)
    on_one_machine = os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"]
    collective = Collective(
        rank,
        size,
        host=os.environ["MASTER_ADDR"],
        port=int(os.environ["MASTER_PORT"]),
        own_host="127.0.0.1" if on_one_machine else own_address()[1],
        store=store,
        device=device_of_sums(learner.device, learner.config.num_gpus_per_learner),
    )
    if rank == 0:
        store.set("state", dumps(learner.get_state()))  # type: ignore[arg-type]
    else:
        learner.set_state(loads(store.get("state")))
    learner.join(GradientAveraging(collective, type(learner).__name__))
