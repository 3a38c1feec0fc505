"""Actors in processes of their own on this machine: the executor ``process``."""

from __future__ import annotations

from rlkit_processes.codec import from_bytes, to_bytes
from rlkit_processes.executor import ProcessActor, ProcessExecutor
from rlkit_processes.published import PublishedArrays

__all__ = ["ProcessActor", "ProcessExecutor", "PublishedArrays", "from_bytes", "to_bytes"]
