"""What went wrong in an env's own process, as data of which an exception is made where it is told of."""

from __future__ import annotations

import contextlib
import sys
import traceback

from attrs import frozen

from rlkit_core.envs.faults.own_type import attributes_of, give
from rlkit_core.errors import EnvError
from rlkit_core.execution.foreign_code import dumps, loads


class ElsewhereError(Exception):
    """The cause of an exception that was raised in another process: its text is the traceback there.

    Attributes:
        place: file and line that it comes from.
    """

    def __init__(self, text: str, place: tuple[str, int]) -> None:
        super().__init__(text)
        self.place = place

    def __str__(self) -> str:
        return f"\n(in the env's own process)\n{self.args[0]}"


@frozen
class Failure:
    """A failure, to be sent.

    Attributes:
        misfit: what the env returned does not fit; otherwise it raised.
        message: of the exception.
        text: its traceback.
        place: file and line that it comes from.
        kind: module and name of its type.
        code: the type itself, for a process that does not know the name; None where it cannot be sent.
        content: arguments and attributes; None where they cannot be sent.
    """

    misfit: bool
    message: str
    text: str
    place: tuple[str, int]
    kind: tuple[str, str]
    code: bytes | None
    content: bytes | None

    @classmethod
    def of(cls, error: Exception, *, misfit: bool, skipped: str) -> Failure:
        """A failure from its exception, or the env's own behind an EnvError.

        Args:
            error: the exception.
            misfit: see above.
            skipped: a file whose frames are left out of the traceback, where they are the outermost.
        """
        frames = error.__traceback__
        while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename == skipped:
            frames = frames.tb_next
        text = "".join(traceback.format_exception(type(error), error, frames))
        own = error.__cause__ if isinstance(error, EnvError) and isinstance(error.__cause__, Exception) else error
        frames, place = own.__traceback__, ("", 0)
        while frames is not None:
            place = frames.tb_frame.f_code.co_filename, frames.tb_lineno
            frames = frames.tb_next
        attributes = {name: value for name, value in attributes_of(own).items() if _packed(value) is not None}
        content = _packed((own.args, attributes)) or _packed(((str(own),), attributes))
        kind = type(own)
        return cls(misfit, str(error), text, place, (kind.__module__, kind.__qualname__), _packed(kind), content)

    def exception(self) -> Exception:
        """The exception, caused by an :class:`ElsewhereError`; a RuntimeError where it cannot be made here."""
        error: Exception
        try:
            error = self._remade()
        except Exception:
            error = RuntimeError(f"{self.kind[1]}: {self.message}")
        error.__cause__ = ElsewhereError(self.text, self.place)
        return error

    def _remade(self) -> Exception:
        kind: object = sys.modules.get(self.kind[0])  # one that a process by itself has made is not asked for by name
        for part in self.kind[1].split("."):
            kind = getattr(kind, part, None)
        if kind is None and self.code is not None:
            kind = loads(self.code)
        if not (isinstance(kind, type) and issubclass(kind, Exception)) or self.content is None:
            raise TypeError(f"{kind!r} is no exception")
        arguments, attributes = loads(self.content)
        try:
            error = kind(*arguments)
        except Exception:  # it takes other arguments than it keeps
            error = kind.__new__(kind, *arguments)
        object.__setattr__(error, "args", arguments)
        give(error, attributes)
        return error


def _packed(value: object) -> bytes | None:
    with contextlib.suppress(Exception):
        return dumps(value)
    return None
