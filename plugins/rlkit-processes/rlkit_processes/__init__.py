"""Actors in processes of their own on this machine: the executor ``process``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlkit_core.lazy import lazy_names

if TYPE_CHECKING:
    from rlkit_processes.codec import from_bytes as from_bytes
    from rlkit_processes.codec import to_bytes as to_bytes
    from rlkit_processes.executor import ProcessActor as ProcessActor
    from rlkit_processes.executor import ProcessExecutor as ProcessExecutor
    from rlkit_processes.published import PublishedArrays as PublishedArrays

__all__ = ["ProcessActor", "ProcessExecutor", "PublishedArrays", "from_bytes", "to_bytes"]

_HOMES = {
    "ProcessActor": "rlkit_processes.executor",
    "ProcessExecutor": "rlkit_processes.executor",
    "PublishedArrays": "rlkit_processes.published",
    "from_bytes": "rlkit_processes.codec",
    "to_bytes": "rlkit_processes.codec",
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
