"""Settings that are declared as a dict, where there is no class to decorate: a plugin's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from rlkit_core.settings.base import Settings
from rlkit_core.settings.declare import METADATA_KEY


def settings_class(name: str, declarations: object) -> type[Settings]:
    """Return a class of settings with these declarations.

    Args:
        name: of the class, as its messages say it.
        declarations: ``{"bonus": setting(0.5, help=..., converter=number(ge=0))}``.

    Raises:
        TypeError: these are no declarations, or their defaults do not fit them.
    """
    if not isinstance(declarations, Mapping):
        raise TypeError(f"expected a dict of settings by name, got {declarations!r}")
    for key, value in declarations.items():
        if METADATA_KEY not in getattr(value, "metadata", {}):
            raise TypeError(f"{key!r}: expected rlkit_core.settings.setting(default, help=...), got {value!r}")
        if not isinstance(key, str) or not key.isidentifier() or key.startswith("_") or hasattr(Settings, key):
            raise TypeError(f"{key!r} cannot be the name of a setting; choose another")
    members: dict[str, Any] = {"__annotations__": dict.fromkeys(declarations, "Any"), "__module__": __name__}
    made: type[Settings] = attrs.define(slots=False)(type(name, (Settings,), {**members, **declarations}))
    try:
        made()
    except ValueError as error:
        raise TypeError(f"a default does not fit: {error}") from error
    return made
