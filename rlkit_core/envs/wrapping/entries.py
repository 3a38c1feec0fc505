"""What ``environment(wrappers=[...])`` takes, and the one form in which it is kept.

An entry is a dict: ``name`` says which wrapper, everything else is passed to it. ``name`` is ``"package.module:Name"``,
the name or full id of a plugin's wrapper, a class, or a function that takes an env. Of the keys

- ``training_only=True`` leaves the wrapper out of evaluation,
- ``in_training={...}`` are arguments that it gets in training only,
- ``env_config={...}``, in an entry without a name, are arguments of the env, below those that a config gives,
- ``bundle`` says which bundle an entry comes from.

A bundle is such entries under one name, in ``bundles.json``. It is replaced by them where it is set, so that a config
holds what it means, whatever a later version calls by that name.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

import gymnasium as gym

from rlkit_core.checkpoint import PassAtLoad
from rlkit_core.checkpoint.trust import is_reading
from rlkit_core.errors import did_you_mean
from rlkit_core.plugins.discovery import CORE

Entry = dict[str, Any]
Entries = Sequence[Mapping[str, Any]]
Given = str | Mapping[str, Any] | type[Any] | Callable[..., Any]

RESERVED = ("name", "training_only", "in_training", "env_config", "bundle")
"""Keys of an entry that are no arguments of its wrapper."""


class ReadName(str):
    """A wrapper's name that was read from a file: what it names is taken only if it can be trusted."""


def wrapper_entries(value: Sequence[Given] | Given | None) -> list[Entry]:
    """The entries of what somebody writes: one wrapper or bundle, or a list of them, the innermost first.

    Raises:
        ValueError: an entry is malformed, or sets what its bundle does not have.
    """
    if value is None:
        return []
    if isinstance(value, (str, Mapping)) or callable(value):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise ValueError(
            "expected a list of wrappers, the innermost first: a bundle ('atari'), 'package.module:Name', a plugin's "
            "wrapper by name, a dict with such a 'name' and its arguments, a class, or a function"
        )
    return [entry for given in value for entry in _entries(given)]


def for_evaluation(entries: Entries) -> list[Entry]:
    """The entries as evaluation and deployment have them: without what is for training only."""
    return [
        {key: value for key, value in entry.items() if key != "in_training"}
        for entry in entries
        if not entry.get("training_only")
    ]


def is_for_training(entry: Mapping[str, Any]) -> bool:
    """Whether the wrapper is there, or as it is, in training only."""
    return bool(entry.get("training_only") or entry.get("in_training"))


def counts_below(entries: Entries) -> bool:
    """Whether returns and ends of episodes are told from below some wrapper."""
    return any(map(is_for_training, entries))


def env_arguments(entries: Entries) -> dict[str, Any]:
    """Arguments that entries have for the env itself."""
    return {key: value for entry in entries for key, value in entry.get("env_config", {}).items()}


def arguments_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the wrapper of an entry is given beside the env."""
    own = {key: value for key, value in entry.items() if key not in RESERVED}
    return {**own, **entry.get("in_training", {})}


def described(entry: Mapping[str, Any]) -> str:
    """An entry in words: ``"gymnasium.wrappers:ClipReward(min_reward=-1) in training only"``."""
    own = {key: value for key, value in entry.items() if key not in RESERVED}
    given = ", ".join(f"{key}={value!r}" for key, value in own.items())
    text = f"{name_of(entry)}({given})" if "name" in entry else ""
    arguments = [f"{key}={value!r}" for key, value in entry.get("env_config", {}).items()]
    text += f"arguments of the env: {', '.join(arguments)}" if arguments else ""
    in_training = ", ".join(f"{key}={value!r}" for key, value in entry.get("in_training", {}).items())
    text += f", in training {in_training}" if in_training else ""
    return text + (", in training only" if entry.get("training_only") else "")


def name_of(entry: Mapping[str, Any]) -> str:
    """What messages call the wrapper of an entry."""
    name = entry["name"]
    if isinstance(name, str):
        return str(name)
    if isinstance(name, PassAtLoad):
        return name.ref
    return f"{getattr(name, '__module__', '?')}:{getattr(name, '__qualname__', type(name).__qualname__)}"


def passed_again(stored: Entries, given: Entries) -> bool:
    """Whether somebody gives the wrappers of a file themselves, in place of their names or of functions' notes."""
    differ = any(type(a.get("name")) is not type(b.get("name")) for a, b in zip(stored, given, strict=False))
    return differ and [described(entry) for entry in stored] == [described(entry) for entry in given]


@functools.cache
def bundles() -> Mapping[str, Mapping[str, Any]]:
    """``{name: {"env_config": {...}, "wrappers": [...]}}``, the bundles that there are."""
    text = resources.files("rlkit_core.envs.wrapping").joinpath("bundles.json").read_text(encoding="utf-8")
    found: Mapping[str, Mapping[str, Any]] = json.loads(text)
    return found


def names_in_bundles() -> frozenset[str]:
    """The wrappers that bundles are made of, which are vouched for."""
    return frozenset(entry["name"] for bundle in bundles().values() for entry in bundle["wrappers"])


def _entries(given: object) -> Iterator[Entry]:
    if isinstance(given, Mapping):
        entry = dict(given)
    elif isinstance(given, str) or callable(given):
        entry = {"name": given}
    else:
        raise ValueError(f"a wrapper is {given!r}: expected a name, a dict with a name, a class or a function")
    if isinstance(entry.get("name"), str) and (bundle := _bundle_named(entry["name"])) is not None:
        yield from _of_bundle(bundle, {key: value for key, value in entry.items() if key != "name"})
        return
    if "name" in entry:
        entry["name"] = _name(entry["name"])
    elif set(entry) - {"bundle"} != {"env_config"}:
        near = did_you_mean("name", entry)
        raise ValueError(f"the wrapper {entry!r} has no 'name'.{near}")
    if not isinstance(entry.get("training_only", False), bool):
        raise ValueError(
            f"training_only={entry['training_only']!r} of wrapper {entry['name']!r}: expected True or False"
        )
    for key in ("in_training", "env_config"):
        if not isinstance(entry.get(key, {}), Mapping):
            raise ValueError(f"{key}={entry[key]!r} of a wrapper: expected a dict of arguments")
    if not all(isinstance(key, str) for key in entry):
        raise ValueError(f"the wrapper {entry!r}: arguments have names")
    yield {key: value for key, value in entry.items() if value is not False or key != "training_only"}


def _name(name: object) -> object:
    """A name as it is kept; gymnasium's classes by theirs."""
    if isinstance(name, str):
        if not name.strip():
            raise ValueError("a wrapper's name is empty")
        return ReadName(name) if is_reading() else name
    if not callable(name):
        raise ValueError(f"a wrapper's name is {name!r}: expected a text, a class or a function")
    short = getattr(name, "__name__", "")
    return f"gymnasium.wrappers:{short}" if short and getattr(gym.wrappers, short, None) is name else name


def _bundle_named(name: str) -> str | None:
    distribution, _, short = name.rpartition("/")
    return short if short in bundles() and distribution in ("", CORE) else None


def _of_bundle(name: str, changes: dict[str, Any]) -> Iterator[Entry]:
    """The entries of a bundle, with other values where ``changes`` has some."""
    bundle = bundles()[name]
    settings = dict(bundle["env_config"])
    entries = [dict(entry) for entry in bundle["wrappers"]]
    places: dict[str, dict[str, Any]] = dict.fromkeys(settings, settings)
    for entry in entries:
        places.update({key: entry for key in entry if key not in RESERVED})
        if "in_training" in entry:
            entry["in_training"] = dict(entry["in_training"])
            places.update(dict.fromkeys(entry["in_training"], entry["in_training"]))
    for key, value in changes.items():
        if key not in places:
            known = sorted(places)
            raise ValueError(f"bundle {name!r} has no {key!r}.{did_you_mean(key, known)} It has {', '.join(known)}")
        places[key][key] = value
    if settings:
        yield {"env_config": settings, "bundle": name}
    yield from ({**entry, "bundle": name} for entry in entries)
