"""Data between runners and learners: rollouts in preallocated arrays, and the maths over them as pure functions."""

from __future__ import annotations

from rlkit_core.data.gae import gae
from rlkit_core.data.projection import categorical_projection
from rlkit_core.data.rollout import Rollout
from rlkit_core.data.vtrace import vtrace
from rlkit_core.plugins.known_packages import MOVED_NAMES

__all__ = ["Rollout", "categorical_projection", "gae", "vtrace"]


def __getattr__(name: str) -> object:
    distribution = MOVED_NAMES.get(name)
    if distribution is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    package = distribution.replace("-", "_")
    # An AttributeError's text would be lost in "from rlkit_core.data import ...".
    raise ImportError(
        f"{name} is in a distribution of its own: pip install {distribution}, then from {package} import {name}"
    )
