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

__all__ = [
    "ActorCriticCatalog",
    "Catalog",
    "has_action_mask",
    "with_rl_initializers",
    "without_action_mask",
    "wrapped",
]
