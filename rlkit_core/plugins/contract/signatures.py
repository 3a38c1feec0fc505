"""Do functions and classes of a plugin take what they will be given? Signatures are compared, nothing is called."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from rlkit_core.errors import did_you_mean

_CONTEXT = ("__enter__", "__exit__")
_STARS: dict[object, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
_NEAR = 0.75  # how like the name that is missing a method must be to be taken for it


class Call(NamedTuple):
    """How something is called: names of what it is given by position, and of what by name."""

    positional: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    @classmethod
    def of(cls, declared: object, *, fullest: bool = True) -> Call:
        """The fullest call (or the shortest) that a method of a Protocol or base class allows, without ``self``."""
        function: Any = getattr(declared, "__func__", declared)
        positional: list[str] = []
        named: list[str] = []
        for one in list(inspect.signature(function).parameters.values())[not isinstance(declared, staticmethod) :]:
            if not fullest and (one.kind in _STARS or one.default is not one.empty):
                continue
            into = named if one.kind in (one.KEYWORD_ONLY, one.VAR_KEYWORD) else positional
            into.append(_STARS.get(one.kind, "") + one.name)
        return cls(tuple(positional), tuple(named))

    def __str__(self) -> str:
        named = (name if name.startswith("*") else f"{name}=" for name in self.named)
        return f"({', '.join((*self.positional, *named))})"

    def problem(self, function: Callable[..., object]) -> str | None:
        """Say why ``function`` cannot be called like this, or return None (also where Python cannot tell)."""
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            return None
        try:
            signature.bind(*self.positional, **dict.fromkeys(self.named))
        except TypeError as exc:
            return f"is called as {self}: {exc}"
        return None


def method_problems(cls: type, contract: type, names: Iterable[str] | None = None) -> Iterator[str]:
    """Yield what keeps a class from serving where ``contract`` is expected: methods it lacks, others' signatures.

    Args:
        cls: the class of a plugin.
        contract: a Protocol or base class. What it only annotates is not looked for: ``__init__`` may set it.
        names: which methods and properties to look at; all public ones unless given.
    """
    for name in public_names(contract) if names is None else names:
        declared = inspect.getattr_static(contract, name)
        of_data = isinstance(declared, property)
        if _is_set_by_init(cls, name):
            continue
        if not hasattr(cls, name) or is_declared_only(cls, name):
            what = f"attribute {name!r}" if of_data else f"{name}{Call.of(declared)}"
            near = did_you_mean(name, [n for n in public_names(cls) if n not in public_names(contract)], cutoff=_NEAR)
            yield f"{cls.__qualname__} has no {what}.{near}"
        elif not of_data:
            of_class = isinstance(declared, classmethod | staticmethod)
            calls = (Call.of(declared), Call.of(declared, fullest=False))
            found = (method_problem(cls, name, call, of_class=of_class) for call in calls)
            yield from itertools.islice(filter(None, found), 1)


def method_problem(cls: type, name: str, call: Call, *, of_class: bool = False) -> str | None:
    """Say why a method that a class has cannot be called as ``call`` says, or return None.

    ``of_class``: it is called on the class, not on an object of it.
    """
    found, method = inspect.getattr_static(cls, name), getattr(cls, name)
    label = f"{cls.__qualname__}.{name}"
    if isinstance(found, property) or not callable(method):
        return f"{label} is {type(found).__name__}, expected a method"
    if inspect.iscoroutinefunction(method):
        return f"{label} is 'async def', and nothing awaits it: use 'def'"
    if of_class and inspect.isfunction(found):
        return f"{label} is called on the class: write @classmethod above it"
    problem = call.problem(found.__get__(cls) if inspect.isfunction(found) else method)
    return f"{label} {problem}" if problem else None


def making_problem(cls: Callable[..., object], call: Call) -> str | None:
    """Say why a class (or function) cannot make what it is asked for, or return None."""
    name = getattr(cls, "__qualname__", repr(cls))
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        return f"{name} is abstract: write {', '.join(missing)}"
    problem = call.problem(cls)
    return f"{name} {problem}" if problem else None


def public_names(cls: type) -> list[str]:
    """Methods and properties that a class and its bases define, ``with`` included, in order of definition."""
    own = [base for base in reversed(cls.__mro__) if base.__module__ not in ("builtins", "typing", "abc")]
    names = dict.fromkeys(name for base in own for name in vars(base))
    return [n for n in names if (n in _CONTEXT or not n.startswith("_")) and _is_method(cls, n)]


def is_declared_only(cls: type, name: str) -> bool:
    """Whether a class inherits a method from a Protocol, which has no code, and does not write it."""
    holder = next((base for base in cls.__mro__ if name in vars(base)), None)
    return holder is not None and bool(vars(holder).get("_is_protocol"))


def _is_method(cls: type, name: str) -> bool:
    found = inspect.getattr_static(cls, name, None)
    return inspect.isroutine(found) or isinstance(found, property | classmethod | staticmethod)


def _is_set_by_init(cls: type, name: str) -> bool:
    """Whether an object may have it although the class has not: its ``__init__`` has an attribute of that name."""
    made = (vars(base).get("__init__") for base in cls.__mro__)
    return not hasattr(cls, name) and any(name in init.__code__.co_names for init in made if inspect.isfunction(init))
