"""What a config says about components: ``components={"encoder": ..., "head:pi": ...}``, checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from rlkit_core.errors import ConfigError, did_you_mean
from rlkit_core.plugins.records import Component

KINDS = ("encoder", "head", "distribution")

ENCODER_SLOT = "encoder"
"""The slot of an encoder that no other slot was asked for."""


class ComponentChoices:
    """The ``components={...}`` of a config, checked: which component for which slot and path.

    Keys: ``"encoder"`` (the root, in every slot), ``"encoder:camera.front"`` (a leaf), ``"encoder@qf"`` and
    ``"encoder@qf:camera.front"`` (the same in one slot, before those of every slot), ``"head:pi"`` (``"head"``: every
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
        named = self._entries.get(key_for(kind, slot, path))
        if named is not None or kind == "distribution":
            return named
        return self._entries.get("head" if kind == "head" else key_for(kind, ENCODER_SLOT, path))

    def paths(self, kind: str, slot: str = ENCODER_SLOT) -> tuple[tuple[str, ...], ...]:
        """Return the paths named for a kind, to check that each exists in the space; ``()`` is the root.

        Where one slot has a root of its own, only its own paths count there.
        """
        keys = [key for key in map(_parse, self._entries) if key is not None and key.kind == kind]
        own = [key for key in keys if key.slot == slot]
        every = [] if any(not key.path for key in own) else [key for key in keys if key.slot is None]
        return tuple(sorted({key.path for key in (*own, *every)}))

    def unused(self, built: Collection[tuple[str, str]]) -> str | None:
        """Say which entry names a slot that is none of those ``built`` (kind and slot), or return None."""
        for text in self._entries:
            key = _parse(text)
            if key is None or key.slot is None or key.kind == "distribution" or (key.kind, key.slot) in built:
                continue
            slots = sorted({slot for kind, slot in built if kind == key.kind})
            there = ", ".join(repr(key_for(key.kind, slot, key.path)) for slot in slots) or f"no {key.kind} at all"
            return (
                f"components[{text!r}]: no {key.kind} {key.slot!r} is built here; there is {there}."
                f"{did_you_mean(key.slot, slots, cutoff=0.5)}"
            )
        return None


def components_problem(mapping: object) -> str | None:
    """Say what is wrong with ``components={...}``, or return None."""
    if not isinstance(mapping, Mapping):
        return "expected a dict such as {'encoder': 'rlkit-core/mlp'}"
    for key, value in mapping.items():
        if not isinstance(key, str) or _parse(key) is None:
            kind = re.split("[:@]", key)[0] if isinstance(key, str) else ""
            return (
                f"{key!r} names no place; use 'encoder', 'encoder:path.to.leaf', 'encoder@slot' (or "
                "'encoder@slot:path.to.leaf'), 'head' (every head), 'head:pi', 'distribution' or 'distribution:path'."
                f"{did_you_mean(kind, KINDS)}"
            )
        if not isinstance(value, str | Component | type):
            return f"{key!r}: expected an id such as 'rlkit-core/mlp', a Component or a class, got {value!r}"
    return None


def key_for(kind: str, slot: str, path: Sequence[str]) -> str:
    """Return the key of ``components={...}`` that names this place."""
    if kind == "head":
        return f"head:{slot}"
    place = f"{kind}@{slot}" if kind == "encoder" and slot != ENCODER_SLOT else kind
    return f"{place}:{'.'.join(path)}" if path else place


class _Key(NamedTuple):
    """A key of ``components={...}``; ``slot`` is None where every slot is meant."""

    kind: str
    slot: str | None
    path: tuple[str, ...]


def _parse(text: str) -> _Key | None:
    before, colon, place = text.partition(":")
    kind, at, slot = before.partition("@")
    if kind not in KINDS or (colon and not place) or (at and (kind != "encoder" or not slot)):
        return None
    if kind == "head":
        return _Key(kind, place or None, ())
    return _Key(kind, slot or None, tuple(place.split(".")) if place else ())
