"""What the distribution brings: the framework ``tf2``. TensorFlow is imported once that is used."""

from __future__ import annotations

from collections.abc import Iterable

from rlkit_core import hookimpl
from rlkit_core.plugins.records import Service

rlkit_api = "1.0"


@hookimpl
def rlkit_services() -> Iterable[Service]:
    """Modules of Keras layers on TensorFlow, and what trains them."""
    return [Service("framework", "tf2", "rlkit_tensorflow.framework:TF2")]
