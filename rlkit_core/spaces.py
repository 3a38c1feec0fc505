"""Helpers for gymnasium spaces: structure, storage, a short description, and an exact JSON form.

Nothing here imports torch. A *path* is the tuple of keys from the root of a space to a leaf: ``Dict`` keys as
strings, ``Tuple`` indices as decimal strings; ``()`` is the root itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlkit_core.errors import CheckpointError, ConfigError

Space = gym.Space[Any]

_INF = float("inf")
_WORDS = {"inf": _INF, "-inf": -_INF}


# -- structure ---------------------------------------------------------------------------------------------


def flat_leaves(space: Space) -> list[tuple[tuple[str, ...], Space]]:
    """List the leaves of nested ``Dict`` and ``Tuple`` spaces as ``(path, leaf)``, in the space's order.

    >>> flat_leaves(spaces.Tuple([spaces.Discrete(2), spaces.Dict(a=spaces.Discrete(3))]))
    [(('0',), Discrete(2)), (('1', 'a'), Discrete(3))]
    """
    children = sub_spaces(space)
    if children is None:
        return [((), space)]
    return [((str(key), *path), leaf) for key, child in children for path, leaf in flat_leaves(child)]


def sub_spaces(space: Space) -> list[tuple[Any, Space]] | None:
    """``(key, sub-space)`` of a ``Dict``, ``(index, sub-space)`` of a ``Tuple``; None of a leaf."""
    if isinstance(space, spaces.Dict):
        return list(space.spaces.items())
    return list(enumerate(space.spaces)) if isinstance(space, spaces.Tuple) else None


def map_space(fn: Callable[..., Any], space: Space, *structs: Any) -> Any:
    """``fn(leaf, ...)`` of each leaf of ``space``, in its structure: a dict for ``Dict``, a tuple for ``Tuple``.

    ``fn`` also gets what each of ``structs`` has in the leaf's place; entries the space does not name are passed over.

    Raises:
        KeyError, IndexError: one of them lacks an entry of the space.
    """
    children = sub_spaces(space)
    if children is None:
        return fn(space, *structs)
    entries = {key: map_space(fn, child, *(struct[key] for struct in structs)) for key, child in children}
    return entries if isinstance(space, spaces.Dict) else tuple(entries.values())


def nested_map(fn: Callable[..., Any], struct: object, *more: Any) -> Any:
    """Apply ``fn`` to the leaves of nested dicts (mappings), tuples and lists, one of each structure at a time.

    Raises:
        ValueError: the structures differ (other keys or another length).
    """
    if isinstance(struct, Mapping):
        for other in more:
            if not isinstance(other, Mapping) or other.keys() != struct.keys():
                raise ValueError(f"structures differ: keys {list(struct)} against {_shape_of(other)}")
        return {key: nested_map(fn, struct[key], *(other[key] for other in more)) for key in struct}
    if isinstance(struct, (tuple, list)):
        for other in more:
            if not isinstance(other, (tuple, list)) or len(other) != len(struct):
                raise ValueError(f"structures differ: {len(struct)} items against {_shape_of(other)}")
        items = [nested_map(fn, item, *rest) for item, *rest in zip(struct, *more, strict=True)]
        return tuple(items) if isinstance(struct, tuple) else items
    return fn(struct, *more)


def leaves(struct: object) -> Iterator[Any]:
    """Each leaf of nested dicts, tuples and lists, in the order of :func:`nested_map`."""
    if isinstance(struct, Mapping):
        struct = struct.values()
    elif not isinstance(struct, (tuple, list)):
        yield struct
        return
    for item in struct:
        yield from leaves(item)


def at_path(struct: Any, path: tuple[str, ...]) -> Any:
    """What nested dicts, tuples and lists have at the path of a leaf."""
    for key in path:
        struct = struct[key] if isinstance(struct, Mapping) and key in struct else struct[_key_of(struct, key)]
    return struct


def _key_of(struct: Mapping[Any, Any] | Sequence[Any], text: str) -> Any:
    """The key, or index, that a path has as text.

    Raises:
        KeyError, ValueError: there is none.
    """
    if not isinstance(struct, Mapping):
        return int(text)
    for key in struct:
        if str(key) == text:
            return key
    raise KeyError(text)


def with_leaf(struct: Any, path: tuple[str, ...], value: object) -> Any:
    """A copy of a nested structure, as deep as the path, with another leaf there."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    own = _key_of(struct, key)
    if isinstance(struct, Mapping):
        return {**struct, own: with_leaf(struct[own], rest, value)}
    items = list(struct)
    items[own] = with_leaf(items[own], rest, value)
    return tuple(items)


def as_arrays(space: Space | None, values: Any) -> Any:
    """``values`` (one or a batch of them) with an array at each leaf of ``space``; lists and numbers are converted.

    Dict and Tuple spaces (without a space, dicts and tuples) say what is structure; in any other place a list is an
    array. Arrays, and tensors, stay as they are.

    Raises:
        ValueError: a key or item of the space is missing.
    """
    if isinstance(space, spaces.Dict) or (space is None and isinstance(values, Mapping)):
        keys = list(space.spaces) if space is not None else list(values)
        missing = [key for key in keys if not isinstance(values, Mapping) or key not in values]
        if missing:
            raise ValueError(f"observation: expected a dict with {keys}, got {_shape_of(values)}")
        return {key: as_arrays(space[key] if space is not None else None, values[key]) for key in keys}
    if isinstance(space, spaces.Tuple) or (space is None and isinstance(values, tuple)):
        if not isinstance(values, (tuple, list)) or (space is not None and len(values) != len(space.spaces)):
            raise ValueError(f"observation: expected one item for each part of {space}, got {_shape_of(values)}")
        parts = space.spaces if space is not None else [None] * len(values)
        return tuple(as_arrays(part, value) for part, value in zip(parts, values, strict=True))
    return values if hasattr(values, "dtype") else np.asarray(values)


def _shape_of(value: object) -> str:
    if isinstance(value, Mapping):
        return f"keys {list(value)}"
    if isinstance(value, (tuple, list)):
        return f"{len(value)} items"
    return type(value).__name__


def batch_zeros(space: Space, leading_shape: tuple[int, ...] = ()) -> Any:
    """Allocate zeros for a batch of the space's elements: arrays ``[*leading_shape, *leaf.shape]``.

    In the space's structure; a leaf has the dtype its space declares (``Discrete``: int64, ``MultiBinary``: int8).

    Raises:
        ConfigError: a leaf (``Text``, ``Sequence``, ``Graph``, ``OneOf``) has no fixed array.
    """
    if sub_spaces(space) is not None:
        return map_space(lambda leaf: batch_zeros(leaf, leading_shape), space)
    if isinstance(space, (spaces.Sequence, spaces.Text, spaces.Graph, spaces.OneOf)) or (
        space.shape is None or space.dtype is None
    ):
        raise ConfigError(
            f"{describe(space)} has no array of fixed shape; expected a Box, Discrete, MultiDiscrete or "
            "MultiBinary leaf, or a component whose encoder packs such observations into arrays"
        )
    return np.zeros((*leading_shape, *space.shape), dtype=space.dtype)


def describe(space: Space) -> str:
    """Describe a space in one short line for messages; long bounds and member lists are cut.

    >>> describe(spaces.Box(-1.0, 1.0, (3,)))
    'Box([-1, 1], (3,), float32)'
    """
    name = type(space).__name__
    if isinstance(space, spaces.Box):
        return f"{name}({_bounds(space)}, {space.shape}, {space.dtype})"
    if isinstance(space, spaces.Discrete):
        start = f", start={int(space.start)}" if int(space.start) else ""
        return f"{name}({int(space.n)}{start})"
    if isinstance(space, spaces.MultiDiscrete):
        nvec = space.nvec.tolist() if space.nvec.size <= 8 else f"{space.nvec.size} values"
        return f"{name}({nvec})"
    if isinstance(space, spaces.MultiBinary):
        return f"{name}({space.n})"
    if isinstance(space, spaces.Dict):
        return f"{name}({_members((f'{k}: {describe(s)}' for k, s in space.spaces.items()), len(space.spaces))})"
    if isinstance(space, (spaces.Tuple, spaces.OneOf)):
        return f"{name}({_members((describe(s) for s in space.spaces), len(space.spaces))})"
    if isinstance(space, spaces.Sequence):
        return f"{name}({describe(space.feature_space)})"
    if isinstance(space, spaces.Graph):
        edge = describe(space.edge_space) if space.edge_space is not None else None
        return f"{name}(node={describe(space.node_space)}, edge={edge})"
    if isinstance(space, spaces.Text):
        return f"{name}({space.min_length}..{space.max_length})"
    return f"{name}(shape={getattr(space, 'shape', None)}, dtype={getattr(space, 'dtype', None)})"


def _bounds(space: spaces.Box[Any]) -> str:
    if not space.low.size:
        return "[]"
    low, high = space.low.flat[0], space.high.flat[0]
    if bool((space.low == low).all()) and bool((space.high == high).all()):
        return f"[{low:g}, {high:g}]"
    return "bounds vary"


def _members(texts: Iterator[str], count: int, limit: int = 6) -> str:
    shown = [text for _, text in zip(range(limit), texts, strict=False)]
    return ", ".join(shown + ([f"and {count - limit} more"] if count > limit else []))


# -- JSON --------------------------------------------------------------------------------------------------


def space_to_json(space: Space) -> dict[str, Any]:
    """Write a space as plain JSON data (no NaN or infinity literals); seeds are not kept.

    Raises:
        CheckpointError: the space is of a class that gymnasium does not define.
    """
    encode = _ENCODERS.get(type(space))
    if encode is None:
        raise CheckpointError(
            f"space {describe(space)} of class {type(space).__module__}.{type(space).__qualname__} cannot be "
            f"written as JSON; expected one of {', '.join(_DECODERS)}"
        )
    return {"type": type(space).__name__, **encode(space)}


def space_from_json(data: object) -> Space:
    """Rebuild the space that :func:`space_to_json` wrote.

    Raises:
        CheckpointError: the data describe no space.
    """
    kind = data.get("type") if isinstance(data, dict) else None
    decode = _DECODERS.get(kind) if isinstance(kind, str) else None
    if decode is None:
        raise CheckpointError(f"no space type {kind!r}; expected one of {', '.join(_DECODERS)}")
    try:
        return decode(data)
    except CheckpointError:
        raise
    except (AssertionError, AttributeError, KeyError, MemoryError, OverflowError, TypeError, ValueError) as error:
        raise CheckpointError(f"invalid description of a {kind} space: {type(error).__name__}: {error}") from error


def _numbers_to_json(array: np.ndarray[Any, Any]) -> Any:
    """One number when all elements are equal, else nested lists; infinities as words."""
    if array.size and bool((array == array.flat[0]).all()) and not _mixed_zeros(array):
        return _number(array.flat[0].item())
    return nested_map(_number, array.tolist())


def _mixed_zeros(array: np.ndarray[Any, Any]) -> bool:
    return array.dtype.kind == "f" and bool(np.signbit(array).any() != np.signbit(array).all())


def _number(value: object) -> Any:
    if value == _INF:
        return "inf"
    return "-inf" if value == -_INF else value


def _numbers_from_json(data: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    def read(value: object) -> Any:
        if isinstance(value, str):
            return _WORDS[value]
        if not isinstance(value, (bool, int, float)):
            raise TypeError(f"expected a number, got {type(value).__name__}")
        return value

    if isinstance(data, list):
        return np.array(nested_map(read, data), dtype=dtype).reshape(shape)
    return np.full(shape, read(data), dtype=dtype)


def _shape(data: object) -> tuple[int, ...]:
    if not isinstance(data, list) or not all(type(n) is int and n >= 0 for n in data):
        raise TypeError(f"expected a shape, got {data!r}")
    return tuple(data)


def _numeric_dtype(data: object) -> np.dtype[Any]:
    dtype = np.dtype(str(data))
    if dtype.kind not in "biuf":
        raise TypeError(f"expected a bool, integer or float dtype, got {data!r}")
    return dtype


def _encode_box(space: Any) -> dict[str, Any]:
    data = {
        "low": _numbers_to_json(space.low),
        "high": _numbers_to_json(space.high),
        "shape": list(space.shape),
        "dtype": str(space.dtype),
    }
    if space.dtype.kind in "iu":  # an integer Box may be unbounded although its limits are finite
        data["bounded_below"] = _numbers_to_json(space.bounded_below)
        data["bounded_above"] = _numbers_to_json(space.bounded_above)
    return data


def _decode_box(data: Mapping[str, Any]) -> Space:
    shape, dtype = _shape(data["shape"]), _numeric_dtype(data["dtype"])
    low = _numbers_from_json(data["low"], shape, dtype)
    high = _numbers_from_json(data["high"], shape, dtype)
    box: Any = spaces.Box(low, high, shape, dtype=dtype.type)
    if "bounded_below" in data:
        box.bounded_below = _numbers_from_json(data["bounded_below"], shape, np.dtype(bool))
        box.bounded_above = _numbers_from_json(data["bounded_above"], shape, np.dtype(bool))
    return box  # type: ignore[no-any-return]


def _dtype_entry(space: Space) -> dict[str, Any]:
    return {} if space.dtype == np.int64 else {"dtype": str(space.dtype)}


def _dtype_kwarg(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"dtype": _numeric_dtype(data["dtype"]).type} if "dtype" in data else {}


def _encode_multi_discrete(space: Any) -> dict[str, Any]:
    data = {"nvec": space.nvec.tolist(), **_dtype_entry(space)}
    return {**data, "start": space.start.tolist()} if space.start.any() else data


def _decode_multi_discrete(data: Mapping[str, Any]) -> Space:
    start = {"start": np.array(data["start"])} if "start" in data else {}
    make: Any = spaces.MultiDiscrete
    return make(np.array(data["nvec"]), **_dtype_kwarg(data), **start)  # type: ignore[no-any-return]


def _encode_dict(space: Any) -> dict[str, Any]:
    for key in space.spaces:
        if not isinstance(key, (str, int)) or isinstance(key, bool):
            raise CheckpointError(f"Dict space key {key!r}: only str and int keys can be written as JSON")
    return {"spaces": [[key, space_to_json(child)] for key, child in space.spaces.items()]}


def _all_to_json(space: Any) -> dict[str, Any]:
    return {"spaces": [space_to_json(child) for child in space.spaces]}


def _all_from_json(data: Mapping[str, Any]) -> list[Space]:
    return [space_from_json(child) for child in data["spaces"]]


_ENCODERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    spaces.Box: _encode_box,
    spaces.Discrete: lambda s: {"n": int(s.n), "start": int(s.start), **_dtype_entry(s)},
    spaces.MultiDiscrete: _encode_multi_discrete,
    spaces.MultiBinary: lambda s: {"n": int(s.n) if np.ndim(s.n) == 0 else [int(n) for n in s.n]},
    spaces.Text: lambda s: {
        "min_length": int(s.min_length),
        "max_length": int(s.max_length),
        "charset": "".join(sorted(s.character_set)),
    },
    spaces.Dict: _encode_dict,
    spaces.Tuple: _all_to_json,
    spaces.OneOf: _all_to_json,
    spaces.Sequence: lambda s: {"space": space_to_json(s.feature_space), "stack": bool(s.stack)},
    spaces.Graph: lambda s: {
        "node_space": space_to_json(s.node_space),
        "edge_space": None if s.edge_space is None else space_to_json(s.edge_space),
    },
}

_DECODERS: dict[str, Callable[[Any], Space]] = {
    "Box": _decode_box,
    "Discrete": lambda d: spaces.Discrete(d["n"], start=d["start"], **_dtype_kwarg(d)),
    "MultiDiscrete": _decode_multi_discrete,
    "MultiBinary": lambda d: spaces.MultiBinary(d["n"]),
    "Text": lambda d: spaces.Text(d["max_length"], min_length=d["min_length"], charset=d["charset"]),
    "Dict": lambda d: spaces.Dict([(key, space_from_json(child)) for key, child in d["spaces"]]),
    "Tuple": lambda d: spaces.Tuple(_all_from_json(d)),
    "OneOf": lambda d: spaces.OneOf(_all_from_json(d)),
    "Sequence": lambda d: spaces.Sequence(space_from_json(d["space"]), stack=d["stack"]),
    "Graph": lambda d: spaces.Graph(
        space_from_json(d["node_space"]), None if d["edge_space"] is None else space_from_json(d["edge_space"])
    ),
}
