"""Which component serves which space, and why."""

from __future__ import annotations

from rlkit_core.catalog.catalog import (
    ActorCriticCatalog,
    Catalog,
    has_action_mask,
    with_rl_initializers,
    without_action_mask,
    wrapped,
)
from rlkit_core.catalog.make import make_catalog

__all__ = [
    "ActorCriticCatalog",
    "Catalog",
    "has_action_mask",
    "make_catalog",
    "with_rl_initializers",
    "without_action_mask",
    "wrapped",
]
