"""Subclasses that note who calls what they override: the library, or whoever has the object."""

from __future__ import annotations

import functools
import inspect
import sys
from collections import defaultdict
from collections.abc import Collection
from typing import Any

THROUGH = (__file__, "/torch/", "/pluggy/", "functools.py", "contextlib.py")  # what calls for somebody else


class Calls:
    """Which methods were called, by ``"Class.method"``: each with who did, ``"rlkit"`` or ``"caller"``."""

    def __init__(self) -> None:
        self.by: dict[str, set[str]] = defaultdict(set)

    def note(self, name: str) -> None:
        """Note a call of a method by whoever called the function that calls this."""
        frame: Any = sys._getframe(2)
        while frame is not None and any(part in frame.f_code.co_filename for part in THROUGH):
            frame = frame.f_back
        module = "" if frame is None else str(frame.f_globals.get("__name__"))
        self.by[name].add("rlkit" if module.startswith("rlkit_") else "caller")

    def noting(self, cls: type, methods: Collection[str], *, known_as: str | None = None) -> Any:
        """A subclass of ``cls`` whose ``methods`` are noted as ``known_as``'s, and then do what those of ``cls`` do."""
        label = known_as or cls.__name__
        body: dict[str, Any] = {name: self._noted(cls, name, f"{label}.{name}") for name in methods}
        noted = type(f"Noted{cls.__name__}", (cls,), {"__module__": __name__, "__doc__": cls.__doc__, **body})
        globals()[noted.__qualname__] = noted  # what is defined in a module can be found again by name
        return noted

    def _noted(self, cls: type, name: str, label: str) -> Any:
        static = inspect.getattr_static(cls, name)
        if isinstance(static, property):
            return property(lambda thing: (self.note(label), static.fget(thing))[1])
        function = static.__func__ if isinstance(static, classmethod | staticmethod) else None
        calls = self

        @functools.wraps(function or getattr(cls, name))
        def method(*args: Any, **kwargs: Any) -> Any:
            calls.note(label)
            return (function or getattr(cls, name))(*args, **kwargs)

        if isinstance(static, classmethod):
            return classmethod(method)
        return staticmethod(method) if isinstance(static, staticmethod) else method
