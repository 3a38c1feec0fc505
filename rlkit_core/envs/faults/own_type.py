"""What an env raised, told with place, seed and action in a type that is both an EnvError and the env's own.

So ``except ValueError`` around training goes on to work with an env that raises one, and ``except EnvError`` catches
all that envs raise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from types import GetSetDescriptorType, MemberDescriptorType
from typing import TypeVar

from rlkit_core.errors import EnvError, RLKitError
from rlkit_core.execution.foreign_code import dumps

ErrorT = TypeVar("ErrorT", bound=RLKitError)

_NEVER = (StopIteration, StopAsyncIteration)
"""Python takes these for the end of an iteration, wherever they pass."""
_ITS_OWN = ("args", "__notes__")
"""What is not taken over from the exception that was raised."""


class _OwnTypeError(EnvError):
    """An EnvError that is of another type too, whose constructor may take whatever it likes: it is not called."""

    __kind__: type[Exception]

    def __init__(self, message: str) -> None:
        object.__setattr__(self, "args", (message,))

    def __str__(self) -> str:  # KeyError's shows repr(message), OSError's number and file name
        return str(self.args[0])

    def __reduce__(self) -> tuple[object, ...]:
        return _elsewhere, (self.__kind__, str(self), {k: v for k, v in attributes_of(self).items() if _can_go(v)})


def told(message: str, cause: Exception) -> EnvError:
    """An error of an env.

    Args:
        message: which env, what happened, with which seed and action.
        cause: what the env raised. Attributes that it has (``errno``, say) are found on the error too.

    Returns:
        An EnvError, of the cause's type as well where Python lets it be both; ``__cause__`` is the cause.
    """
    try:
        error = _both(type(cause))(message)
        give(error, attributes_of(cause))
    except Exception:  # a type that cannot be made like that
        error = EnvError(message)
    error.__cause__ = cause
    return error


def retold(error: ErrorT, message: str) -> ErrorT:
    """The same error with another message."""
    again = type(error)(message)
    give(again, attributes_of(error))
    again.__cause__ = error.__cause__
    return again.with_traceback(error.__traceback__)


_types: dict[type[Exception], type[EnvError]] = {}


def _both(kind: type[Exception]) -> type[EnvError]:
    """The type of an EnvError that is of type ``kind`` too, always the same; EnvError itself where there is none."""
    if kind not in _types:
        _types[kind] = _made(kind)
    return _types[kind]


def _made(kind: type[Exception]) -> type[EnvError]:
    if issubclass(EnvError, kind) or issubclass(kind, (EnvError, *_NEVER)):
        return EnvError
    try:
        names = {"__module__": EnvError.__module__, "__doc__": EnvError.__doc__, "__kind__": kind}
        return type(f"EnvError[{kind.__name__}]", (_OwnTypeError, kind), names)
    except Exception:  # two layouts in memory, two metaclasses, or it allows none to derive from it
        return EnvError


def attributes_of(error: Exception) -> dict[str, object]:
    """What an exception has besides arguments and notes, in slots (``errno`` of an OSError) and its dict."""
    slots = [
        name
        for base in type(error).__mro__
        for name, kept in vars(base).items()
        if isinstance(kept, (MemberDescriptorType, GetSetDescriptorType)) and not name.startswith("__")
    ]
    found = {}
    for name in dict.fromkeys([*slots, *vars(error)]):
        if name not in _ITS_OWN:
            with contextlib.suppress(Exception):
                found[name] = getattr(error, name)
    return found


def give(error: Exception, attributes: Mapping[str, object]) -> None:
    """Let an exception have attributes of another, as far as it can."""
    for name, value in attributes.items():
        with contextlib.suppress(Exception):
            object.__setattr__(error, name, value)


def _elsewhere(kind: type[Exception], message: str, attributes: dict[str, object]) -> EnvError:
    """An error that was raised in another process."""
    error = _both(kind)(message)
    give(error, attributes)
    return error


def _can_go(value: object) -> bool:
    """Whether another process can have it."""
    try:
        dumps(value)
    except Exception:
        return False
    return True
