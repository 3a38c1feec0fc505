"""Where runners and learners run: a small protocol, and the implementation in this process."""

from __future__ import annotations

from rlkit_core.execution.local import LocalExecutor
from rlkit_core.execution.protocol import ActorHandle, Executor

__all__ = ["ActorHandle", "Executor", "LocalExecutor"]
