"""Constructor arguments and settings as JSON: plain data, spaces, classes, arrays, and registered types.

Functions are recorded by name and come back as :class:`PassAtLoad`, which raises when it is needed. Upper
layers add their own types with :func:`register_json_type`.
"""

from __future__ import annotations

import base64
import functools
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from attrs import frozen

from rlkit_core.checkpoint import strict_json
from rlkit_core.checkpoint.strict_json import KeyPath, key_path
from rlkit_core.checkpoint.trust import class_ref, reading, resolve_class
from rlkit_core.errors import CheckpointError, RLKitError
from rlkit_core.spaces import space_from_json, space_to_json

_ARRAY_KINDS = "biufc"


class PassAtLoad:
    """Stands for a function that a checkpoint could only name; calling it says to pass the real one.

    Attributes:
        ref: the function's ``"module:qualified.name"`` when it was saved.
        where: the path of keys at which it stood.
        name: the name to pass it by.
    """

    def __init__(self, ref: str, where: str, name: str = "name") -> None:
        self.ref = ref
        self.where = where
        self.name = name

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        """Raise: the function itself is not in the checkpoint."""
        raise CheckpointError(
            f"{self.where} was the function {self.ref}; checkpoints hold no code, so pass it again when "
            f"loading (from_checkpoint(path, {self.name}=function)) or set it before use"
        )

    def __repr__(self) -> str:
        return f"PassAtLoad({self.ref!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PassAtLoad) and self.ref == other.ref

    def __hash__(self) -> int:
        return hash(self.ref)


@frozen
class _JsonType:
    cls: type
    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


_TYPES: dict[type, _JsonType] = {}
_NAMES: dict[str, _JsonType] = {}


def register_json_type(cls: type, name: str, encode: Callable[[Any], Any], decode: Callable[[Any], Any]) -> None:
    """Teach :func:`to_jsonable` a type; subclasses of ``cls`` use it too unless registered themselves.

    Args:
        cls: the type.
        name: a short stable name that the files will hold.
        encode: gives data that :func:`to_jsonable` can write (nested objects included).
        decode: rebuilds the object from that data, itself already rebuilt.

    Raises:
        ValueError: the name is taken by another type.
    """
    taken = _NAMES.get(name)
    if taken is not None and class_ref(taken.cls) != class_ref(cls):
        raise ValueError(f"JSON type name {name!r} belongs to {class_ref(taken.cls)} already")
    _TYPES[cls] = _NAMES[name] = _JsonType(cls, name, encode, decode)


def to_jsonable(value: object) -> Any:
    """Write ``value`` as strict JSON data.

    Handles None, bool, int, float, str, dict (str and int keys), list, tuple, set, frozenset, paths, numpy arrays,
    scalars and dtypes, torch dtypes, gymnasium spaces, classes, and registered types; functions become a note.

    Raises:
        CheckpointError: something else, a live ``nn.Module`` among it; the message has the path of keys.
    """
    return strict_json.encode(value, _leaf)


def _leaf(value: object, path: KeyPath) -> Any:
    for cls in type(value).__mro__:
        if cls in _TYPES:
            kind = _TYPES[cls]
            return {"$object": [kind.name, strict_json.encode(kind.encode(value), _leaf, path)]}
    if isinstance(value, gym.Space):
        return {"$space": space_to_json(value)}
    if isinstance(value, type):
        return {"$class": class_ref(value)}
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in _ARRAY_KINDS:
            raise CheckpointError(f"{key_path(path)}: an array of dtype {value.dtype} cannot be written as JSON")
        little = value.astype(value.dtype.newbyteorder("<"), order="C")
        data = base64.b64encode(little.tobytes()).decode("ascii")
        return {"$ndarray": [value.dtype.name, list(value.shape), data]}
    if isinstance(value, np.generic):
        return {"$npscalar": _leaf(np.asarray(value), path)["$ndarray"]}
    if isinstance(value, np.dtype):
        return {"$dtype": value.str}
    if isinstance(value, (set, frozenset)):
        items = sorted((strict_json.encode(item, _leaf, path) for item in value), key=lambda item: repr(item))
        return {"$frozenset" if isinstance(value, frozenset) else "$set": items}
    if isinstance(value, pathlib.PurePath):
        return {"$path": str(value)}
    return _torch_leaf(value, path)


def _torch_leaf(value: object, path: KeyPath) -> Any:
    import torch

    if isinstance(value, torch.dtype):
        return {"$torch_dtype": str(value).removeprefix("torch.")}
    if isinstance(value, torch.nn.Module):
        raise CheckpointError(
            f"{key_path(path)} is a live nn.Module ({type(value).__qualname__}), which no checkpoint can "
            "rebuild; pass its class and settings instead, and build it in setup()"
        )
    if callable(value):
        return {"$function": function_ref(value)}
    raise CheckpointError(
        f"{key_path(path)} is a {class_ref(type(value))}, which cannot be written as JSON; pass plain data, "
        "a space, a class, an array, or a type registered with register_json_type"
    )


def function_ref(function: Callable[..., Any]) -> str:
    """Name a function, method, partial or callable object as ``"module:qualified.name"``."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, PassAtLoad):
        return function.ref
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', None) or '?'}:{named.__qualname__}"


def from_jsonable(data: object, *, classes: Iterable[type] = (), plugins: Iterable[Mapping[str, Any]] = ()) -> Any:
    """Rebuild what :func:`to_jsonable` wrote.

    ``classes`` may be named besides those that are trusted anyway; ``plugins`` is the checkpoint's list of plugins, for
    the message about a missing one.

    Raises:
        CheckpointError: malformed data, or a class that is not trusted or not installed.
    """
    classes, plugins = tuple(classes), tuple(plugins)

    def again(payload: object, path: KeyPath) -> Any:
        return strict_json.decode(payload, tags, path)

    def registered(payload: object, path: KeyPath) -> Any:
        name, value = _list_of(payload, 2, path)
        kind = _NAMES.get(name) if isinstance(name, str) else None
        if kind is None:
            raise CheckpointError(f"{key_path(path)}: unknown type {name!r}; known are {sorted(_NAMES)}")
        try:
            with reading():
                return kind.decode(again(value, path))
        except RLKitError:
            raise
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise CheckpointError(f"{key_path(path)}: malformed {name}: {error!r}") from error

    def items(payload: object, path: KeyPath) -> list[Any]:
        return [again(item, path) for item in _list_of(payload, None, path)]

    tags: dict[str, strict_json.TagDecoder] = {
        "$object": registered,
        "$space": lambda payload, path: space_from_json(payload),
        "$class": lambda payload, path: resolve_class(payload, classes=classes, plugins=plugins),
        "$ndarray": _array,
        "$npscalar": lambda payload, path: _array(payload, path)[()],
        "$dtype": lambda payload, path: _dtype(payload, path),
        "$torch_dtype": _torch_dtype,
        "$set": lambda payload, path: set(items(payload, path)),
        "$frozenset": lambda payload, path: frozenset(items(payload, path)),
        "$path": lambda payload, path: pathlib.Path(_text(payload, path)),
        "$function": lambda payload, path: PassAtLoad(_text(payload, path), key_path(path)),
    }
    try:
        return strict_json.decode(data, tags)
    except RecursionError as error:
        raise CheckpointError("nested too deeply") from error


def _list_of(payload: object, length: int | None, path: KeyPath) -> list[Any]:
    if not isinstance(payload, list) or (length is not None and len(payload) != length):
        raise CheckpointError(f"{key_path(path)}: malformed value")
    return payload


def _text(payload: object, path: KeyPath) -> str:
    if not isinstance(payload, str):
        raise CheckpointError(f"{key_path(path)}: expected text, found {type(payload).__name__}")
    return payload


def _dtype(payload: object, path: KeyPath) -> np.dtype[Any]:
    try:
        dtype = np.dtype(_text(payload, path))
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in _ARRAY_KINDS:
        raise CheckpointError(f"{key_path(path)}: no numeric dtype {payload!r}")
    return dtype


def _array(payload: object, path: KeyPath) -> np.ndarray[Any, Any]:
    name, shape, data = _list_of(payload, 3, path)
    dtype = _dtype(name, path)
    try:
        flat = np.frombuffer(base64.b64decode(data, validate=True), dtype=dtype.newbyteorder("<"))
        array: np.ndarray[Any, Any] = flat.astype(dtype).reshape(shape)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{key_path(path)}: malformed array: {error}") from error
    return array


def _torch_dtype(payload: object, path: KeyPath) -> Any:
    import torch

    dtype = getattr(torch, _text(payload, path), None)
    if not isinstance(dtype, torch.dtype):
        raise CheckpointError(f"{key_path(path)}: torch has no dtype {payload!r}")
    return dtype
