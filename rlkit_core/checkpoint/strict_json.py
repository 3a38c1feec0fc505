"""Nested Python containers as strict JSON, exactly and refusing everything else.

Plain strings, numbers, lists and dicts with string keys are themselves in JSON. What JSON lacks is an object
with one key that starts with ``$``: ``{"$tuple": [...]}``, ``{"$float": "nan"}``, ``{"$int": "0x..."}`` for
integers beyond 64 bits and ``{"$dict": [[key, value], ...]}`` for dicts whose keys are integers or start with
``$``. Everything that is no container or scalar goes to a *leaf* function, which adds tags of its own.

Subclasses of the built-in types come back as the built-in type (a named tuple as a tuple).
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rlkit_core.errors import CheckpointError

KeyPath = tuple[Any, ...]
LeafEncoder = Callable[[Any, KeyPath], Any]
TagDecoder = Callable[[Any, KeyPath], Any]

MAX_DEPTH = 128
_INT64 = 2**63
_FLOAT_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def key_path(path: KeyPath) -> str:
    """Write a path of keys as Python would: ``['optimizer']['state'][0]``; the root is ``the top level``."""
    return "".join(f"[{key!r}]" for key in path) or "the top level"


def encode(value: object, leaf: LeafEncoder, path: KeyPath = ()) -> Any:
    """Turn ``value`` into JSON data; ``leaf(value, path)`` handles what is no built-in scalar or container.

    Raises:
        CheckpointError: nesting deeper than 128 (or a cycle), a key that is neither str nor int, or whatever
            ``leaf`` refuses. The message holds the path of keys.
    """
    if value is None or value is True or value is False:
        return value
    if isinstance(value, (np.generic, enum.Enum)):
        return leaf(value, path)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value) if -_INT64 <= value < _INT64 else {"$int": hex(value)}
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return {"$float": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if len(path) >= MAX_DEPTH:
        raise CheckpointError(
            f"{key_path(path[:4])}...: nested deeper than {MAX_DEPTH} levels, or the structure contains itself"
        )
    if isinstance(value, dict):
        return _encode_mapping(value, leaf, path)
    if isinstance(value, (list, tuple)):
        items = [encode(item, leaf, (*path, index)) for index, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    return leaf(value, path)


def _encode_mapping(value: dict[Any, Any], leaf: LeafEncoder, path: KeyPath) -> Any:
    plain = True
    pairs: list[tuple[str | int, Any]] = []
    for key, item in value.items():
        if isinstance(key, (bool, enum.Enum, np.generic)) or not isinstance(key, (str, int)):
            raise CheckpointError(f"{key_path(path)}: key {key!r} is a {type(key).__name__}; expected str or int keys")
        plain = plain and isinstance(key, str) and not key.startswith("$")
        pairs.append((str(key) if isinstance(key, str) else int(key), encode(item, leaf, (*path, key))))
    if plain:
        return dict(pairs)
    return {"$dict": [[encode(key, leaf, path), item] for key, item in pairs]}


def decode(data: object, tags: Mapping[str, TagDecoder], path: KeyPath = ()) -> Any:
    """Turn JSON data back into the value; ``tags`` maps each extra ``$tag`` to ``decode(payload, path)``.

    Raises:
        CheckpointError: an unknown or malformed tag, or nesting deeper than 128.
    """
    if len(path) > MAX_DEPTH:
        raise CheckpointError(f"{key_path(path[:4])}...: nested deeper than {MAX_DEPTH} levels")
    if isinstance(data, list):
        return [decode(item, tags, (*path, index)) for index, item in enumerate(data)]
    if not isinstance(data, dict):
        return data
    if not any(key.startswith("$") for key in data):
        return {key: decode(item, tags, (*path, key)) for key, item in data.items()}
    if len(data) != 1:
        raise CheckpointError(f"{key_path(path)}: a tagged value has exactly one key, found {sorted(data)[:4]}")
    ((tag, payload),) = data.items()
    decoder = tags.get(tag)
    if decoder is not None:
        return decoder(payload, path)
    return _decode_builtin(tag, payload, tags, path)


def _decode_builtin(tag: str, payload: object, tags: Mapping[str, TagDecoder], path: KeyPath) -> Any:
    if tag == "$tuple" and isinstance(payload, list):
        return tuple(decode(item, tags, (*path, index)) for index, item in enumerate(payload))
    if tag == "$float" and isinstance(payload, str) and payload in _FLOAT_WORDS:
        return _FLOAT_WORDS[payload]
    if tag == "$int" and isinstance(payload, str):
        try:
            return int(payload, 16)
        except ValueError:
            pass
    if tag == "$dict" and isinstance(payload, list):
        return _decode_pairs(payload, tags, path)
    raise CheckpointError(f"{key_path(path)}: unknown or malformed tag {tag!r}")


def _decode_pairs(payload: list[Any], tags: Mapping[str, TagDecoder], path: KeyPath) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for pair in payload:
        if not isinstance(pair, list) or len(pair) != 2:
            raise CheckpointError(f"{key_path(path)}: '$dict' holds [key, value] pairs")
        key = decode(pair[0], {}, path)
        if isinstance(key, bool) or not isinstance(key, (str, int)) or key in result:
            raise CheckpointError(f"{key_path(path)}: invalid or repeated key {key!r}")
        result[key] = decode(pair[1], tags, (*path, key))
    return result


def dumps(data: object, *, lines: bool = True) -> bytes:
    """Write strict JSON (no NaN literals), ASCII only, so that any string survives.

    Args:
        data: what to write.
        lines: put each entry of a dict on a line of its own. (Python indents everything, but slowly.)

    Raises:
        CheckpointError: the data hold something that JSON lacks.
    """
    try:
        if lines and isinstance(data, dict) and data and all(isinstance(key, str) for key in data):
            entries = (f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in data.items())
            return ("{\n " + ",\n ".join(entries) + "\n}").encode("ascii")
        return json.dumps(data, allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot be written as JSON: {error}") from error


def loads(text: bytes, source: str) -> Any:
    """Read strict JSON: duplicate keys, NaN literals and endless nesting are refused, naming ``source``.

    Raises:
        CheckpointError: the text is no strict JSON.
    """

    def constant(word: str) -> Any:
        raise ValueError(f"the literal {word} is not JSON")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            raise ValueError("an object has the same key twice")
        return result

    try:
        return json.loads(text.decode("utf-8"), parse_constant=constant, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{source} is damaged: {error}") from error
