"""What the distribution brings: the executor ``process``, and what ``learners(num_learners=...)`` means."""

from __future__ import annotations

from collections.abc import Iterable

from rlkit_core import hookimpl
from rlkit_core.plugins.records import Service

rlkit_api = "1.0"


@hookimpl
def rlkit_services() -> Iterable[Service]:
    """One process per actor; learners on any executor, which average their gradients."""
    return [
        Service("executor", "process", "rlkit_processes:ProcessExecutor"),
        Service("learner_group", "averaging", "rlkit_processes.learners.group:SeveralLearners"),
    ]
