"""The version of rlkit-core, where anything may read it without importing the package's public names."""

from __future__ import annotations

__version__ = "0.1.0"
