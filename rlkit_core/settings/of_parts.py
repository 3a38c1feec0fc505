"""What parts of a model read from ``model_config``: components, catalogs and mixins declare it, or leave it open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from attrs import frozen

from rlkit_core.errors import did_you_mean
from rlkit_core.settings.declared_elsewhere import settings_class


class Declared(Mapping[str, Any]):
    """Declarations of settings by name, checked once; equal to nothing but itself.

    Raises:
        TypeError: these are no declarations, or their defaults do not fit them.
    """

    def __init__(self, declarations: Mapping[str, Any]) -> None:
        if not isinstance(declarations, Mapping):
            raise TypeError(f"expected a dict of settings by name, got {declarations!r}")
        self._class = settings_class("model_config", declarations) if declarations else None
        self._declarations = dict(declarations)

    def __getitem__(self, name: str) -> Any:
        return self._declarations[name]

    def __iter__(self) -> Any:
        return iter(self._declarations)

    def __len__(self) -> int:
        return len(self._declarations)

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __reduce__(self) -> Any:
        return (Declared, (self._declarations,))

    def filled(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """All the values, those declared here converted, or their defaults where they are missing.

        Raises:
            ConfigError: a value is refused; the message names it.
        """
        if self._class is None:
            return dict(values)
        made = self._class()
        made.change({name: value for name, value in values.items() if name in self._declarations})
        return {**values, **made.stored_values()}


_KNOWN: WeakKeyDictionary[type, tuple[Mapping[str, Any], Declared]] = WeakKeyDictionary()


def says_more(name: str) -> bool:
    """Whether a member of that name makes a class more than a thin one, which has components and names only."""
    return name not in ("components", "algorithm", "settings") and not name.startswith("__")


def declared_by(cls: type) -> Declared | None:
    """What a class declares as its class attribute ``settings``, with its bases'; None where it says nothing itself.

    A class that adds nothing but names and components to its base has what that has.

    Raises:
        TypeError: these are no declarations.
    """
    for owner in cls.__mro__:
        own = vars(owner)
        if own.get("settings") is not None:
            break
        if any(map(says_more, own)):
            return None
    merged: dict[str, Any] = {}
    for owner in reversed(cls.__mro__):
        merged.update(vars(owner).get("settings") or {})
    before = _KNOWN.get(cls)
    if before is None or before[0] != merged:
        before = _KNOWN[cls] = (merged, Declared(merged))
    return before[1]


@frozen
class Part:
    """One part of a model: whose it is, as messages say it, and what it declares (None: it may read anything)."""

    name: str
    settings: Mapping[str, Any] | None


def unknown_setting(given: Iterable[str], known: Iterable[str], parts: Iterable[Part]) -> str | None:
    """Say which of the keys ``given`` nobody reads, or return None; nothing is said where a part leaves it open."""
    parts = list(parts)
    if any(part.settings is None for part in parts):
        return None
    names = {*known, *(name for part in parts for name in part.settings or ())}
    unknown = sorted(name for name in given if name not in names)
    if not unknown:
        return None
    own = {part.name: sorted(part.settings or ()) for part in parts if part.settings}
    declared = "".join(f"; {name} declares {', '.join(settings)}" for name, settings in own.items())
    return (
        f"model_config[{unknown[0]!r}]: no such setting.{did_you_mean(unknown[0], sorted(names))} It is none of the "
        f"built-in ones{declared}. A module class of your own may read what it likes"
    )
