"""How an exception of an actor reaches the driver: in its own type, with the remote traceback as its cause."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Collection
from typing import Any

from rlkit_core.errors import ActorError
from rlkit_processes.codec import from_bytes, to_bytes


def describe(error: BaseException, classes: dict[type, Any], files: Collection[str]) -> tuple[str, str, str, Any]:
    """Take an exception apart for the way to the driver.

    Args:
        error: what a call raised.
        classes: those that came from the driver by value.
        files: the transport's own, whose frames are left out of the traceback.

    Returns:
        ``(type, message, traceback, the exception or None)``, of which :func:`revive` makes the driver's exception.
    """
    kind = type(error)
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename in files:
        frames = frames.tb_next
    text = "".join(traceback.format_exception(kind, error, frames))
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    # The second form skips the constructor of an exception that takes other arguments than it keeps.
    for content in (error, (_remade, (kind, error.args, _plain_state(error)))):
        try:
            portable = to_bytes(content, classes_of_peer=classes)
            if type(_exception(*portable)) is kind:
                return name, _text(error), text, portable
        except Exception:
            continue
    return name, _text(error), text, None


def revive(name: str, message: str, text: str, portable: Any) -> BaseException:
    """The exception that :func:`describe` described: its own type where that can be made here, else an ActorError.

    Its cause is a :class:`RemoteTraceback`, which shows where in the actor it was raised.
    """
    error: BaseException
    try:
        error = _exception(*portable)
    except Exception:
        error = ActorError(f"{name} in an actor: {message}")
    error.__cause__ = RemoteTraceback(text)
    return error


class RemoteTraceback(Exception):  # noqa: N818 - carries text, is never raised
    """Cause of an exception that was raised in an actor; its text is the traceback over there."""

    def __str__(self) -> str:
        return f"\n(in the actor)\n{self.args[0]}"


def _exception(structure: bytes, memory: Any) -> BaseException:
    content = from_bytes(structure, memory)
    if isinstance(content, tuple):
        make, arguments = content
        content = make(*arguments)
    if not isinstance(content, BaseException):
        raise TypeError(f"{content!r} is no exception")
    return content


def _plain_state(error: BaseException) -> dict[str, Any]:
    kept = {}
    for name, value in vars(error).items():
        with contextlib.suppress(Exception):
            from_bytes(*to_bytes(value))
            kept[name] = value
    return kept


def _remade(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<its message cannot be shown>"
