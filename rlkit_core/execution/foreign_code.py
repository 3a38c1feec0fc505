"""Code that another process can import, and code that has to go along with what uses it.

Pickles name classes and functions by their module. Where a fresh process could not import that module (a notebook's, a
test's, one that was loaded from a file outside ``sys.path``), what it defines travels by value.
"""

from __future__ import annotations

import io
import os
import sys
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

_looked_at: set[str] = {"__main__", "builtins"}


def dumps(obj: object) -> bytes:
    """Pickle ``obj`` for another process, together with the code that it could not import.

    Raises:
        Exception: whatever pickling a part of ``obj`` raises.
    """
    with io.BytesIO() as file:
        _Pickler(file, protocol=5).dump(obj)
        return file.getvalue()


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, type | FunctionType):
            take_along(getattr(obj, "__module__", None))
        return super().reducer_override(obj)


def take_along(module_name: str | None) -> None:
    """From now on cloudpickle sends what a module defines by value, if another process could not import it."""
    if module_name is None or module_name in _looked_at:
        return
    _looked_at.add(module_name)
    module = sys.modules.get(module_name)
    if module is not None and not is_importable(module_name, module):
        cloudpickle.register_pickle_by_value(module)


def is_importable(name: str, module: ModuleType) -> bool:
    """Whether a fresh process with this ``sys.path`` finds this very module under this name."""
    if name.partition(".")[0] in sys.stdlib_module_names:
        return True
    try:
        return _is_found(name, module)
    except Exception:  # a foreign import hook may raise anything; then cloudpickle's own rule stands
        return True


def _is_found(name: str, module: ModuleType) -> bool:
    path: Any = None
    origin: str | None = None
    file = getattr(module, "__file__", None)
    parts = name.split(".")
    for depth in range(len(parts)):
        full = ".".join(parts[: depth + 1])
        spec = next((spec for spec in (_find(f, full, path) for f in sys.meta_path) if spec is not None), None)
        if spec is None:  # a module that a package makes when it is imported has no file either
            return depth > 0 and file is None
        path, origin = spec.submodule_search_locations, spec.origin
        if path is None and depth + 1 < len(parts):
            return file is None
    return file is None or origin is None or os.path.realpath(origin) == os.path.realpath(file)


def _find(finder: object, name: str, path: Any) -> ModuleSpec | None:
    find = getattr(finder, "find_spec", None)
    return None if find is None else find(name, path, None)
