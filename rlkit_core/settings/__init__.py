"""Settings: how one is declared, checked, converted, and suggested where its name is misspelt."""

from __future__ import annotations

from rlkit_core.settings.base import SettingsBase
from rlkit_core.settings.fields import (
    Setting,
    boolean,
    either,
    integer,
    mapping,
    number,
    one_of,
    optional,
    redeclare,
    schedule,
    setting,
)

__all__ = [
    "Setting",
    "SettingsBase",
    "boolean",
    "either",
    "integer",
    "mapping",
    "number",
    "one_of",
    "optional",
    "redeclare",
    "schedule",
    "setting",
]
