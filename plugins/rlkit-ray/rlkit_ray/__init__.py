"""Actors of a Ray cluster: the executor ``ray``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlkit_core.lazy import lazy_names

if TYPE_CHECKING:
    from rlkit_ray.executor import RayExecutor as RayExecutor
    from rlkit_ray.handle import RayActor as RayActor

__all__ = ["RayActor", "RayExecutor"]

__getattr__, __dir__ = lazy_names(__name__, {"RayActor": "rlkit_ray.handle", "RayExecutor": "rlkit_ray.executor"})
