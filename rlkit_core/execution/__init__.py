"""Where runners and learners run: a small protocol, and its implementations in this process and in processes."""

from __future__ import annotations

from rlkit_core.execution.local import LocalExecutor
from rlkit_core.execution.processes import ProcessExecutor
from rlkit_core.execution.protocol import ActorHandle, Executor, Published
from rlkit_core.execution.published import LocalPublished, PublishedArrays

__all__ = [
    "ActorHandle",
    "Executor",
    "LocalExecutor",
    "LocalPublished",
    "ProcessExecutor",
    "Published",
    "PublishedArrays",
]
