"""What the distribution brings: the executor ``ray``."""

from __future__ import annotations

from collections.abc import Iterable

from rlkit_core import hookimpl
from rlkit_core.plugins.records import Service
from rlkit_core.settings import mapping, number, optional, setting

rlkit_api = "1.0"


def _address(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected 'host:port', 'auto' or 'local'")
    return value


rlkit_settings = {
    "address": setting(
        help="Of the cluster, 'host:port', or 'auto': that of RAY_ADDRESS or of this machine; 'local' starts one; None "
        "joins or starts one.",
        converter=optional(_address),
    ),
    "runner_options": setting({}, help="options(...) of Ray for runners: num_cpus, resources ...", converter=mapping),
    "learner_options": setting({}, help="options(...) of Ray for learners: num_gpus ...", converter=mapping),
    "evaluation_options": setting(
        help="options(...) of Ray for runners that evaluate; None: those of runners.", converter=optional(mapping)
    ),
    "start_timeout": setting(
        60.0, help="Seconds in which the cluster has to find room for a runner or learner.", converter=number(gt=0)
    ),
}


@hookimpl
def rlkit_services() -> Iterable[Service]:
    """Actors on the machines of a Ray cluster."""
    return [Service("executor", "ray", "rlkit_ray.executor:RayExecutor", settings=rlkit_settings)]
