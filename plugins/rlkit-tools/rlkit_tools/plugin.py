"""What this distribution registers beside its commands: callbacks, by a string, so that reading it imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from rlkit_core import Service, hookimpl
from rlkit_core.settings import integer, setting

rlkit_api = "1.0"
rlkit_settings = {
    "video_every": setting(50, help="Iterations between two videos of callbacks 'video'.", converter=integer(ge=1))
}


@hookimpl
def rlkit_services() -> Iterable[Service]:
    """Videos of a run while it goes on."""
    return [Service("callbacks", "video", "rlkit_tools.record.while_training:VideoCallback")]
