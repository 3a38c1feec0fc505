"""What a config says about components: ``components={"encoder": ..., "head:pi": ...}``, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlkit_core.errors import ConfigError, did_you_mean
from rlkit_core.plugins.records import Component

KINDS = ("encoder", "head", "distribution")


class ComponentChoices:
    """The ``components={...}`` of a config, checked: which component for which slot and path.

    Keys: ``"encoder"`` (the root), ``"encoder:camera.front"`` (a leaf), ``"head:pi"`` (``"head"``: every
    head), ``"distribution"`` and ``"distribution:arm"`` (a leaf of a Dict or Tuple action space).
    Values: an id, a short name, a :class:`Component` or a class.
    """

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self._entries = dict(entries)

    @classmethod
    def from_config(cls, mapping: Mapping[str, Any] | None) -> ComponentChoices:
        """Check the keys and return the choices.

        Raises:
            ConfigError: a key is no kind, or kind and path; a value is no id, record or class.
        """
        if mapping is None:
            return cls({})
        problem = components_problem(mapping)
        if problem:
            raise ConfigError(f"components={mapping!r}: {problem}")
        return cls(mapping)

    def lookup(self, kind: str, slot: str, path: Sequence[str]) -> Any | None:
        """Return what the config names for this place, or None (a key that holds a dot cannot be named)."""
        if any("." in part for part in path):
            return None
        return self._entries.get(key_for(kind, slot, path), self._entries.get("head") if kind == "head" else None)

    def paths(self, kind: str) -> tuple[tuple[str, ...], ...]:
        """Return the paths named for a kind, to check that each exists in the space; ``()`` is the root."""
        keys = (k.partition(":") for k in self._entries)
        return tuple(sorted(tuple(p.split(".")) if p else () for k, _, p in keys if k == kind))


def components_problem(mapping: object) -> str | None:
    """Say what is wrong with ``components={...}``, or return None."""
    if not isinstance(mapping, Mapping):
        return "expected a dict such as {'encoder': 'rlkit-core/mlp'}"
    for key, value in mapping.items():
        kind, colon, place = key.partition(":") if isinstance(key, str) else ("", "", "")
        if kind not in KINDS or (colon and not place):
            return (
                f"{key!r} names no place; use 'encoder', 'encoder:path.to.leaf', 'head' (every head), 'head:pi', "
                f"'distribution' or 'distribution:path'.{did_you_mean(kind, KINDS)}"
            )
        if not isinstance(value, str | Component | type):
            return f"{key!r}: expected an id such as 'rlkit-core/mlp', a Component or a class, got {value!r}"
    return None


def key_for(kind: str, slot: str, path: Sequence[str]) -> str:
    """Return the key of ``components={...}`` that names this place."""
    if kind == "head":
        return f"head:{slot}"
    return f"{kind}:{'.'.join(path)}" if path else kind
