"""``RLKIT_*`` variables: one way to read a switch, and one to read which plugins a list names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from rlkit_core.plugins.installed.metadata import canonical

_OFF = frozenset({"", "0", "false", "no", "off"})


def is_on(env: Mapping[str, str], variable: str) -> bool:
    """Whether a switch is set: ``0``, ``false``, ``no``, ``off`` (in any case) and nothing are off, all else is on."""
    return env.get(variable, "").strip().casefold() not in _OFF


class PluginList:
    """What ``RLKIT_PLUGINS`` or ``RLKIT_PLUGINS_DISABLE`` names.

    An item is a distribution, the name of an entry point, or ``distribution/name``; case and ``-_.`` are alike, and
    ``*``, ``?`` and ``[...]`` match as in a shell.
    """

    def __init__(self, text: str) -> None:
        self.items: dict[str, tuple[str, str | None]] = {}
        for item in filter(None, re.split(r"[\s,;]+", text)):
            distribution, slash, name = item.partition("/")
            folded = canonical(distribution), canonical(name) if slash and name else None
            self.items.setdefault(folded[0] + (f"/{folded[1]}" if folded[1] else ""), folded)

    def names(self, distribution: str, entry: str | None) -> bool:
        """Whether an item names an entry point of a distribution (or, with None, the whole distribution)."""
        return any(_fits(item, distribution, entry) for item in self.items.values())

    def unmatched(self, installed: Iterable[tuple[str, str | None]]) -> list[str]:
        """Return the items that name none of these ``(distribution, entry point)``, sorted."""
        pairs = list(installed)
        return sorted(text for text, item in self.items.items() if not any(_fits(item, *pair) for pair in pairs))


def _fits(item: tuple[str, str | None], distribution: str, entry: str | None) -> bool:
    wanted, name = item
    if name is not None:
        return entry is not None and _matches(wanted or "*", distribution) and _matches(name, canonical(entry))
    return _matches(wanted, distribution) or (entry is not None and _matches(wanted, canonical(entry)))


def _matches(pattern: str, name: str) -> bool:
    if not any(c in pattern for c in "*?["):
        return pattern == name
    from fnmatch import fnmatchcase

    return fnmatchcase(name, pattern)
