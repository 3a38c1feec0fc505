"""Code that another process can import, and code that has to go along with what uses it.

Pickles name classes and functions by their module. Where a fresh process could not import that module (a notebook's, a
test's, one that was loaded from a file outside ``sys.path``), what it defines travels by value.

A package that was imported before ``sys.path`` got another copy of it (a checkout in front of what is installed) is no
such code: by value it would arrive as a stranger to the package over there, or not at all. It travels by name, and
:func:`shadowed_packages` says where a process that is to have the very same copy looks for it.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

from rlkit_core.plugins.using import import_by_name

_MODULE = ("cloudpickle.cloudpickle", "subimport")  # what it calls for a module that it pickled by name
_looked_at: set[str] = {"__main__", "builtins"}


def dumps(obj: object) -> bytes:
    """Pickle ``obj`` for another process, together with the code that it could not import.

    Raises:
        Exception: whatever pickling a part of ``obj`` raises.
    """
    with io.BytesIO() as file:
        _Pickler(file, protocol=5).dump(obj)
        return file.getvalue()


def loads(pickled: bytes | memoryview) -> Any:
    """Build what :func:`dumps` was given. Modules of plugins that it names are imported as plugins are.

    Raises:
        Exception: whatever building a part of it raises.
    """
    with io.BytesIO(pickled) as file:
        return _Unpickler(file).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) == _MODULE:
            return import_by_name
        if module_name not in sys.modules:
            import_by_name(module_name)
        return super().find_class(module_name, global_name)


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, type | FunctionType):
            take_along(getattr(obj, "__module__", None))
        elif isinstance(obj, ModuleType):
            take_along(obj.__name__)
        return super().reducer_override(obj)


def take_along(module_name: str | None) -> None:
    """From now on cloudpickle sends what a module defines by value, if another process could not import it."""
    if module_name is None or module_name in _looked_at:
        return
    _looked_at.add(module_name)
    module = sys.modules.get(module_name)
    if module is None or is_importable(module_name, module):
        return
    home = _home_if_shadowed(module_name.partition(".")[0])
    if home is None or not _is_found(module_name, module, home):
        cloudpickle.register_pickle_by_value(module)


def shadowed_packages() -> dict[str, str]:
    """Packages of this process that a fresh one with this ``sys.path`` would take from elsewhere.

    Returns:
        For each the folder that this process has it from: its parent, as an entry of ``sys.path`` would name it.
    """
    tops = [name for name in list(sys.modules) if "." not in name and name not in sys.stdlib_module_names]
    homes = {name: _home_if_shadowed(name) for name in tops}
    return {name: home for name, home in homes.items() if home is not None}


def _home_if_shadowed(package: str) -> str | None:
    module = sys.modules.get(package)
    file = getattr(module, "__file__", None)
    if module is None or not isinstance(file, str) or not hasattr(module, "__path__"):
        return None
    folder = os.path.dirname(os.path.abspath(file))
    if os.path.basename(folder) != package:  # loaded under a name that is not its own
        return None
    try:
        spec = _first(package, None)
    except Exception:  # a foreign import hook may raise anything
        return None
    if spec is None or (spec.origin is not None and os.path.realpath(spec.origin) == os.path.realpath(file)):
        return None
    return os.path.dirname(folder)


def is_importable(name: str, module: ModuleType) -> bool:
    """Whether a fresh process with this ``sys.path`` finds this very module under this name."""
    if name.partition(".")[0] in sys.stdlib_module_names:
        return True
    try:
        return _is_found(name, module)
    except Exception:  # a foreign import hook may raise anything; then cloudpickle's own rule stands
        return True


def _is_found(name: str, module: ModuleType, home: str | None = None) -> bool:
    """Whether this very module is found, its top package in ``home`` if that is given."""
    path: Any = None
    origin: str | None = None
    file = getattr(module, "__file__", None)
    parts = name.split(".")
    for depth in range(len(parts)):
        full = ".".join(parts[: depth + 1])
        spec = _first(full, path) if home is None or depth else PathFinder.find_spec(full, [home])
        if spec is None:  # a module that a package makes when it is imported has no file either
            return depth > 0 and file is None
        path, origin = spec.submodule_search_locations, spec.origin
        if path is None and depth + 1 < len(parts):
            return file is None
    return file is None or origin is None or os.path.realpath(origin) == os.path.realpath(file)


def _first(name: str, path: Any) -> ModuleSpec | None:
    return next((spec for spec in (_find(finder, name, path) for finder in sys.meta_path) if spec is not None), None)


def _find(finder: object, name: str, path: Any) -> ModuleSpec | None:
    find = getattr(finder, "find_spec", None)
    return None if find is None else find(name, path, None)
