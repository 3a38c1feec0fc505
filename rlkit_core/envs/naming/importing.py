"""Importing what an env's name leads to."""

from __future__ import annotations

from types import ModuleType

from rlkit_core.errors import EnvError
from rlkit_core.plugins.own_code import add_own
from rlkit_core.plugins.using import import_by_name


def import_if_there(name: str) -> ModuleType | None:
    """A module, or None where there is none of that name; in a command, it may lie in the current folder.

    Raises:
        EnvError: the module needs another one that is not installed, or raised something itself; a file is named.
    """
    if name.endswith(".py"):
        raise EnvError(
            f"{name!r} is a file, which only a command (rlkit train ppo ./my_env.py:MyEnv) may name: in Python pass "
            "the class or function itself, or name its module, 'my_env:MyEnv', with its folder on sys.path"
        )
    try:
        return import_by_name(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            return import_if_there(name) if add_own(name) else None
        raise EnvError(f"env module {name!r} needs {error.name!r}, which is not installed") from error
    except Exception as error:
        raise EnvError(f"importing env module {name!r} raised {type(error).__name__}: {error}") from error
