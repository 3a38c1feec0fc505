"""Importing what an env's name leads to."""

from __future__ import annotations

from types import ModuleType

from rlkit_core.errors import EnvError
from rlkit_core.plugins.using import import_by_name


def import_if_there(name: str) -> ModuleType | None:
    """A module, or None where there is none of that name.

    Raises:
        EnvError: the module needs another one that is not installed, or raised something itself.
    """
    try:
        return import_by_name(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        raise EnvError(f"env module {name!r} needs {error.name!r}, which is not installed") from error
    except Exception as error:
        raise EnvError(f"importing env module {name!r} raised {type(error).__name__}: {error}") from error
