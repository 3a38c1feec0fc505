"""Public names that a module loads on first use (PEP 562), so that importing it stays cheap."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    module: str, homes: Mapping[str, str], *, refuse: Callable[[str], object] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a module whose names are defined elsewhere.

    Args:
        module: its ``__name__``.
        homes: public names, each with the module that defines it.
        refuse: is told of a name that is not among them: gives what it stands for, None where it is nobody's, or raises
            an error that says more than Python's.
    """

    def load(name: str) -> Any:
        if name not in homes:
            instead = None if refuse is None else refuse(name)
            if instead is not None:
                return instead
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[module], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[module]), *homes})

    return load, names
