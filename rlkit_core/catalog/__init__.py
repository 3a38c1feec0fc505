"""Which component serves which space, and why."""

from __future__ import annotations

from rlkit_core.catalog.catalog import ActorCriticCatalog, Catalog, for_framework, has_action_mask
from rlkit_core.catalog.make import make_catalog

__all__ = ["ActorCriticCatalog", "Catalog", "for_framework", "has_action_mask", "make_catalog"]
