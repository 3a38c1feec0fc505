"""The annotations of a plugin's hook functions, held against the specification: what mypy cannot see for its author.

A hook function is found by its name, so no type checker compares it with anything. Names of arguments are checked when
a plugin is loaded, which goes on without a word about types; ``rlkit doctor`` and the conformance kit ask here.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import Any

from rlkit_core.plugins.hookspecs import RLKitSpecs

_PLAIN = (type(None), bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, PurePath)
"""Classes that are certainly no config, algorithm, view or the like."""


def hook_problems(hook: str, function: Callable[..., object], specs: type = RLKitSpecs) -> Iterator[str]:
    """Yield what the annotations of a hook function say that is not so. What is not annotated is fine.

    Args:
        hook: the name of the hook.
        function: of a plugin; nothing is called. Annotations in quotes count where their names can be found.
        specs: the class that declares the hooks.
    """
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        yield f"{hook} is 'async def', and nothing awaits it: use 'def'"
        return
    expected = _hints(getattr(specs, hook))
    for name, found in _hints(function).items():
        wanted = expected.get(name, Any)
        if name == "return":
            if not _may_return(found, wanted):
                yield f"{hook} is annotated to return {_text(found)}, expected {_text(wanted)}"
        elif not _takes(found, wanted):
            yield f"{hook}: its argument {name!r} is annotated {_text(found)}, and is given {_text(wanted)}"


def _hints(function: Callable[..., object]) -> dict[str, Any]:
    """Annotations of a function, those whose names cannot be found left out."""
    while isinstance(function, types.MethodType):
        function = function.__func__
    names = getattr(function, "__globals__", {})
    hints = {}
    for name, written in getattr(function, "__annotations__", {}).items():
        found = written
        if isinstance(written, str):
            try:
                found = eval(written, {**vars(typing), **names})
            except KeyboardInterrupt:
                raise
            except BaseException:
                continue  # imported for type checkers only, say
        hints[name] = type(None) if found is None else found
    return hints


def _takes(annotation: object, given: object) -> bool:
    """Whether a parameter with this annotation takes what a hook is given. True where that cannot be told."""
    members = _members(annotation)
    if members is not None:
        return any(_takes(one, given) for one in members)
    wanted, cls = _class(given), _class(annotation)
    if cls is None or wanted is None or _is_kind_of(wanted, cls):
        return True
    if getattr(wanted, "_is_protocol", False) or wanted.__module__.partition(".")[0] == "rlkit_core":
        return not issubclass(cls, _PLAIN)  # a class that this layer does not know may be what is given
    return False


def _may_return(annotation: object, wanted: object) -> bool:
    """Whether what a function says it returns is what is wanted of it."""
    members = _members(annotation)
    if members is not None:  # None is allowed beside something else: it stands for nothing
        return all(one is type(None) or _may_return(one, wanted) for one in members)
    cls, expected = _class(annotation), _class(wanted)
    if cls is None or expected is None:
        return True
    if not _is_kind_of(cls, expected):
        return False
    items, of = typing.get_args(annotation), typing.get_args(wanted)
    if expected is not Iterable or not of or (not items and cls is not str):
        return True
    if cls is str:
        return False  # iterable, one character after the other
    every = items if issubclass(cls, tuple) and Ellipsis not in items else items[:1]
    return all(_may_return(item, of[0]) for item in every)


def _is_kind_of(cls: type, base: type) -> bool:
    """``issubclass``, where a Protocol that does not allow the question counts only if it is a base by itself."""
    try:
        return base in cls.__mro__ or issubclass(cls, base)
    except TypeError:
        return False


def _members(annotation: object) -> tuple[Any, ...] | None:
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else None


def _class(annotation: object) -> type | None:
    """The class that an annotation stands for, or None where it is none, or all of them."""
    origin = typing.get_origin(annotation) or annotation
    return origin if isinstance(origin, type) and origin not in (object, Any) else None


def _text(annotation: object) -> str:
    if annotation is type(None):
        return "None"
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return annotation.__qualname__
    return str(annotation).replace("typing.", "")
