"""Converters of settings: each gives the stored value, or raises ValueError saying what was expected."""

from __future__ import annotations

import itertools
import math
import numbers
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Converter = Callable[[Any], Any]
Schema = dict[str, Any]
"""A JSON Schema; one without keys says nothing."""


def copy_containers(value: object) -> Any:
    """Copy dicts, lists and sets at every depth; everything inside keeps its identity."""
    if type(value) is dict:
        return {key: copy_containers(item) for key, item in value.items()}
    if type(value) is list:
        return [copy_containers(item) for item in value]
    if type(value) is set:
        return set(value)
    return value


def taken(converter: Converter) -> str | None:
    """The annotation of what a converter takes; None where it says no more than ``object``."""
    annotations = dict(getattr(converter, "__annotations__", {}))
    annotations.pop("return", None)
    annotation = next(iter(annotations.values()), None)
    return annotation if isinstance(annotation, str) and annotation != "object" else None


def schema_of(converter: Converter | None) -> Schema:
    """The JSON Schema of what a converter takes; empty where it does not say. It refuses nothing that is taken."""
    return copy_containers(getattr(converter, "json_schema", {}))  # type: ignore[no-any-return]


def takes(schema: Schema, converter: Converter) -> Converter:
    """The converter, which says from now on what it takes."""
    converter.json_schema = schema  # type: ignore[attr-defined]
    return converter


def boolean(value: object) -> bool:
    """True or False (numpy's too), nothing that is merely truthy."""
    if isinstance(value, bool):
        return value
    if type(value).__name__ in ("bool", "bool_") and type(value).__module__ == "numpy":
        return bool(value)
    raise ValueError("expected True or False")


takes({"type": "boolean"}, boolean)


def optional(converter: Converter) -> Converter:
    """None, or what ``converter`` takes."""

    def convert(value: object) -> Any:
        if value is None:
            return None
        try:
            return converter(value)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{error} (or None)") from None

    convert.__annotations__["value"] = taken(converter) and f"{taken(converter)} | None"
    inner = schema_of(converter)
    return takes({"anyOf": [inner, {"type": "null"}]} if inner else {}, convert)


def integer(*, ge: int | None = None, le: int | None = None) -> Converter:
    """A whole number within bounds; ``1e5`` counts as whole, True does not."""
    what = "a whole number" + _bounds(ge, le, None)

    def convert(value: object) -> int:
        result = _whole(value)
        if result is None or (ge is not None and result < ge) or (le is not None and result > le):
            raise ValueError(f"expected {what}")
        return result

    return takes({"type": "integer", **_bounds_schema(ge, le, None)}, convert)


def number(*, ge: float | None = None, le: float | None = None, gt: float | None = None) -> Converter:
    """A finite real number within bounds, stored as float."""
    what = "a number" + _bounds(ge, le, gt)

    def convert(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError(f"expected {what}")
        result = float(value)
        low = (ge is not None and result < ge) or (gt is not None and result <= gt)
        if not math.isfinite(result) or low or (le is not None and result > le):
            raise ValueError(f"expected {what}")
        return result

    return takes({"type": "number", **_bounds_schema(ge, le, gt)}, convert)


def one_of(*choices: object) -> Converter:
    """One of the given values."""
    text = ", ".join(repr(choice) for choice in choices)

    def convert(value: object) -> Any:
        for choice in choices:
            if type(value) is type(choice) and value == choice:
                return choice
        raise ValueError(f"expected one of {text}")

    return takes({"enum": list(choices)}, convert)


def either(*converters: Converter) -> Converter:
    """What the first fitting of ``converters`` makes of the value."""

    def convert(value: object) -> Any:
        reasons = []
        for converter in converters:
            try:
                return converter(value)
            except (ValueError, TypeError) as error:
                reasons.append(str(error).removeprefix("expected "))
        raise ValueError("expected " + ", or ".join(reasons))

    inner = [schema_of(converter) for converter in converters]
    return takes({"anyOf": inner} if all(inner) else {}, convert)


def schedule(*, ge: float | None = None, le: float | None = None) -> Converter:
    """A number, or ``[[env_step, value], ...]``: linear in between, constant after the last.

    The list has at least two pairs, starts at step 0, and its steps grow.
    """
    one = number(ge=ge, le=le)
    bounds = _bounds(ge, le, None)

    def convert(value: float | Sequence[Sequence[float]]) -> float | list[list[float]]:
        if not isinstance(value, list | tuple):
            try:
                return float(one(value))
            except ValueError:
                raise ValueError(f"expected a number{bounds} or a list [[step, value], ...]") from None
        pairs: list[list[float]] = []
        for pair in value:
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise ValueError(f"expected pairs [step, value], got {pair!r}")
            pairs.append([int(integer(ge=0)(pair[0])), float(one(pair[1]))])
        if len(pairs) < 2:
            raise ValueError(f"a schedule needs at least two [step, value] pairs, got {len(pairs)}")
        if pairs[0][0] != 0:
            raise ValueError(f"a schedule starts at step 0, this one at {pairs[0][0]}")
        if any(after[0] <= before[0] for before, after in itertools.pairwise(pairs)):
            raise ValueError(f"the steps of a schedule must grow, got {[pair[0] for pair in pairs]}")
        return pairs

    pair = {"type": "array", "prefixItems": [{"type": "integer", "minimum": 0}, schema_of(one)]}
    pairs_schema = {"type": "array", "items": {**pair, "minItems": 2, "maxItems": 2}, "minItems": 2}
    return takes({"anyOf": [schema_of(one), pairs_schema]}, convert)


def mapping(value: Mapping[str, Any] | None) -> dict[str, Any]:
    """A dict with string keys, copied (the values inside keep their identity)."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("expected a dict")
    wrong = [key for key in value if not isinstance(key, str)]
    if wrong:
        raise ValueError(f"expected string keys, got {wrong[0]!r}")
    return {key: copy_containers(item) for key, item in value.items()}


takes({"type": ["object", "null"]}, mapping)


def _bounds(ge: float | None, le: float | None, gt: float | None) -> str:
    parts = [f"{sign} {bound}" for sign, bound in ((">=", ge), (">", gt), ("<=", le)) if bound is not None]
    return " " + " and ".join(parts) if parts else ""


def _bounds_schema(ge: float | None, le: float | None, gt: float | None) -> Schema:
    bounds = {"minimum": ge, "exclusiveMinimum": gt, "maximum": le}
    return {name: bound for name, bound in bounds.items() if bound is not None}


def _whole(value: object) -> int | None:
    """The number as int; None if it is none, or not a whole one."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    if isinstance(value, numbers.Integral):
        return operator.index(value)
    return int(float(value)) if math.isfinite(value) and float(value).is_integer() else None
