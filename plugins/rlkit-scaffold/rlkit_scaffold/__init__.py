"""Begins a plugin for rlkit: ``rlkit new-plugin``."""

from __future__ import annotations

from rlkit_scaffold.answers import KINDS, LICENSES, Answers
from rlkit_scaffold.write import write_plugin

__all__ = ["KINDS", "LICENSES", "Answers", "write_plugin"]
