"""Settings: how one is declared, checked, converted, and suggested where its name is misspelt."""

from __future__ import annotations

from rlkit_core.settings.base import Settings
from rlkit_core.settings.converters import boolean, either, integer, mapping, number, one_of, optional, schedule
from rlkit_core.settings.declare import UNSET, Setting, redeclare, setting
from rlkit_core.settings.declared_elsewhere import settings_class
from rlkit_core.settings.of_parts import Declared
from rlkit_core.settings.other_names import OtherNames
from rlkit_core.settings.sections import SectionedSettings, section

__all__ = [
    "UNSET",
    "Declared",
    "OtherNames",
    "SectionedSettings",
    "Setting",
    "Settings",
    "boolean",
    "either",
    "integer",
    "mapping",
    "number",
    "one_of",
    "optional",
    "redeclare",
    "schedule",
    "section",
    "setting",
    "settings_class",
]
