"""What this distribution registers. Targets are strings, so that reading them imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from rlkit_core import hookimpl
from rlkit_core.plugins.records import Service

rlkit_api = "1.0"


@hookimpl
def rlkit_services() -> Iterable[Service]:
    """The step engines that ``learners(compile=...)`` names."""
    return [
        Service("step_engine", "capture", "rlkit_capture.engine:capture"),
        Service("step_engine", "inductor", "rlkit_capture.engine:inductor"),
        Service("step_engine", "auto", "rlkit_capture.engine:auto"),
    ]
