"""What the distribution brings: the executor that ``execution(executor="process")`` names."""

from __future__ import annotations

from collections.abc import Iterable

from rlkit_core import hookimpl
from rlkit_core.plugins.records import Service

rlkit_api = "1.0"


@hookimpl
def rlkit_services() -> Iterable[Service]:
    """One process per actor."""
    return [Service("executor", "process", "rlkit_processes:ProcessExecutor")]
