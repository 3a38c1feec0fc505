"""Where runners and learners run: a small protocol, the executor of this process, and groups of actors."""

from __future__ import annotations

from rlkit_core.execution.by_name import make_executor
from rlkit_core.execution.local import LocalExecutor, LocalPublished
from rlkit_core.execution.protocol import ActorHandle, Executor, Published

__all__ = ["ActorHandle", "Executor", "LocalExecutor", "LocalPublished", "Published", "make_executor"]
