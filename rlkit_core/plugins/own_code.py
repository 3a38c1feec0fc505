"""Code of one's own, which is not installed: modules in the folder that a command is given in, and files it names.

Only a command looks there, for what a module's name leads to that nothing else has. A program has a ``sys.path`` of its
own; and what is loaded from somewhere can name no file.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlkit_core.errors import ConfigError

_LOOKED_IN: list[Path] = []


@contextmanager
def own_code_in(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Inside of it, :func:`add_own` looks into a folder."""
    _LOOKED_IN.append(Path(folder).absolute())
    try:
        yield
    finally:
        _LOOKED_IN.pop()


def add_own(module: str) -> bool:
    """Put the folder of a module of one's own at the end of ``sys.path``, where it hides nothing.

    It stays there: the module may import its neighbours later, and worker processes take the path over.

    Args:
        module: a name that cannot be imported.

    Returns:
        Whether that may have changed.
    """
    top = module.partition(".")[0]
    for folder in reversed(_LOOKED_IN):
        there = (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file()
        if there and str(folder) not in sys.path:
            _add(folder)
            return True
    return False


def module_of_file(file: str | os.PathLike[str]) -> str:
    """The name of a file's module, whose folder (of a package: the one that it lies in) is put at ``sys.path``'s end.

    Raises:
        ConfigError: there is no such file, it cannot be a module's, or another module has the name.
    """
    path = Path(file).absolute()
    if not path.is_file():
        raise ConfigError(f"{file}: there is no such file")
    names, folder = [path.stem] if path.stem != "__init__" else [], path.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    name = ".".join(names)
    if not names or not all(one.isidentifier() for one in names):
        raise ConfigError(f"{file}: {name!r} is no name of a module; rename the file, to my_env.py say")
    _add(folder)
    found = _origin(name)
    if found is None or found.resolve() != path.resolve():
        raise ConfigError(f"{file}: the module {name!r} is found in {found} before it; rename the file")
    return name


def _add(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()


def _origin(name: str) -> Path | None:
    """The file that a module is imported from; None where it has none."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
