"""Which classes a checkpoint may name.

A checkpoint is data from somewhere. Reading one imports a class only from ``rlkit_core`` or from a package that an
installed distribution names in an ``rlkit.*`` entry point (below a namespace package, which many share); beyond that a
class must already be defined in this process (outside the standard library), or be passed by the caller.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from rlkit_core.errors import CheckpointError, did_you_mean
from rlkit_core.plugins.guard import describe
from rlkit_core.plugins.used.lock import requirement
from rlkit_core.plugins.using import import_by_name

_REF = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.([^\W\d]\w*|<locals>))*\Z")
_READING: ContextVar[bool] = ContextVar("rlkit_reading", default=False)
_PLAIN_BUILTINS = frozenset({bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, object})


def class_ref(cls: type) -> str:
    """Name a class as ``"package.module:Qualified.Name"``."""
    return f"{cls.__module__}:{cls.__qualname__}"


def plugin_packages() -> dict[str, tuple[str, str]]:
    """Map each package that enabled ``rlkit.*`` entry points belong to, to its ``(distribution, version)``.

    A namespace package is nobody's: what lies below it counts (``"acme.rl"``). Where a package is shared by several
    distributions, the second one's entry-point modules stand for it.
    """
    from rlkit_core.plugins.discovery import scan

    return dict(_packages(tuple(row for row in map(tuple, scan().usable()) if row[2].startswith("rlkit."))))


@functools.lru_cache(maxsize=16)
def _packages(rows: tuple[tuple[str, ...], ...]) -> Mapping[str, tuple[str, str]]:
    from rlkit_core.plugins.installed.modules import place_of

    found: dict[str, tuple[str, str]] = {}
    for name, version, _, _, value in rows:
        module = value.partition(":")[0].strip()
        if module.partition(".")[0] in sys.stdlib_module_names:
            continue
        package = place_of(module).package
        if found.setdefault(package, (name, version))[0] != name:
            found.setdefault(module, (name, version))
    return dict(sorted(found.items()))


def distribution_of(cls: type) -> tuple[str, str] | None:
    """Return the plugin ``(distribution, version)`` that defines ``cls``; None for a script's class."""
    if cls.__module__.partition(".")[0] == "rlkit_core":
        from rlkit_core._version import __version__

        return ("rlkit-core", __version__)
    from rlkit_core.plugins.discovery import FOUND, scan

    owner = scan().owner(cls.__module__)
    return (owner.name, owner.version) if owner is not None and owner.state == FOUND else None


def _package_of(module: str, packages: Iterable[str]) -> str | None:
    """Return the longest of ``packages`` that a module lies in."""
    return max((p for p in packages if module == p or module.startswith(f"{p}.")), key=len, default=None)


@contextmanager
def reading() -> Iterator[None]:
    """While data from somewhere is read: :func:`class_named` trusts it no more than a checkpoint."""
    token = _READING.set(True)
    try:
        yield
    finally:
        _READING.reset(token)


def is_reading() -> bool:
    """Whether this is inside of :func:`reading`."""
    return _READING.get()


def belongs_to_plugin(module_name: str) -> bool:
    """Whether a module is part of ``rlkit_core`` or of an installed plugin, which may be imported for a checkpoint."""
    return module_name.partition(".")[0] == "rlkit_core" or _package_of(module_name, plugin_packages()) is not None


def is_imported(module_name: str) -> bool:
    """Whether a module, outside the standard library, is in this process already."""
    return module_name in sys.modules and not _is_standard_library(module_name)


def class_named(ref: str) -> type:
    """The class that somebody names in a config, on a command line, by ``"package.module:Class"``.

    It is imported, whoever's it is; inside of :func:`reading` only as :func:`resolve_class` does.

    Raises:
        ValueError: it is malformed, there is no such class, or its import fails; with the nearest name.
        CheckpointError: it is read, and not trusted.
    """
    if _READING.get():
        return resolve_class(ref)
    module_name, colon, name = ref.partition(":")
    if not _REF.match(ref):
        head, _, tail = ref.rpartition(".")
        near = f" Did you mean '{head}:{tail}'?" if head and not colon else ""
        raise ValueError(f"{ref!r} is no class: expected 'package.module:Class'.{near}")
    module = _imported_for(ref, module_name)
    value: Any = module
    for part in name.split("."):
        value = getattr(value, part, None)
    if not isinstance(value, type):
        classes = [key for key, item in vars(module).items() if isinstance(item, type)]
        what = "no such class" if value is None else f"{value!r} there, which is no class"
        raise ValueError(f"{ref!r}: {module_name} has {what}.{did_you_mean(name, classes)}")
    return value


def _imported_for(ref: str, module_name: str) -> ModuleType:
    try:
        return import_by_name(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ValueError(f"{ref!r}: {module_name} cannot be imported ({describe(error)})") from error
        near = did_you_mean(error.name, [known for known in sys.modules if known.count(".") == error.name.count(".")])
        raise ValueError(
            f"{ref!r}: there is no module {error.name!r}.{near} Install its package, or give its file: --plugin FILE.py"
        ) from error
    except Exception as error:
        raise ValueError(f"{ref!r}: {module_name} cannot be imported ({describe(error)})") from error


def refs_in(data: object) -> Iterator[str]:
    """Every ``"package.module:Name"`` in JSON values."""
    if isinstance(data, str):
        if _REF.match(data):
            yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from refs_in(value)
    elif isinstance(data, list):
        for value in data:
            yield from refs_in(value)


def resolve_class(
    ref: object, *, classes: Iterable[type] = (), base: type = object, plugins: Iterable[Mapping[str, Any]] = ()
) -> type:
    """Find the class that a checkpoint names, importing only what is trusted.

    Args:
        ref: ``"package.module:Qualified.Name"`` as read from the file.
        classes: classes the caller vouches for (one of a script may also stand for the ``__main__`` it was saved in).
        base: the class must be a subclass of it; its subclasses that exist already are found without any import.
        plugins: the checkpoint's list of plugin distributions, for the message about one that is missing.

    Raises:
        CheckpointError: the reference is malformed, untrusted, cannot be found, or is no subclass of ``base``.
    """
    if not isinstance(ref, str) or not _REF.match(ref):
        raise CheckpointError(f"the checkpoint names {str(ref)[:100]!r}, expected 'package.module:Class'")
    found = _given(ref, classes) or _defined(ref, base) or _imported(ref, plugins)
    if found is None:
        raise CheckpointError(_not_found(ref, plugins))
    if not issubclass(found, base):
        raise CheckpointError(f"the checkpoint names {ref}, which is not a subclass of {class_ref(base)}")
    return found


def _given(ref: str, classes: Iterable[type]) -> type | None:
    module, _, name = ref.partition(":")
    for cls in classes:
        if class_ref(cls) == ref or (cls.__qualname__ == name and "__main__" in (module, cls.__module__)):
            return cls
    return None


def _defined(ref: str, base: type) -> type | None:
    if base is not object:
        matches = [cls for cls in (base, *_subclasses(base)) if class_ref(cls) == ref]
        if matches:
            return matches[-1]  # the newest of classes defined again, as in a notebook
    module_name, _, name = ref.partition(":")
    if module_name == "builtins":
        return next((cls for cls in _PLAIN_BUILTINS if cls.__name__ == name), None)
    module = sys.modules.get(module_name)
    if module is None or _is_standard_library(module_name):
        return None
    return _look_up(module, ref)


def _subclasses(base: type) -> Iterator[type]:
    children: list[type] = type.__subclasses__(base)
    for cls in children:
        yield cls
        yield from _subclasses(cls)


def _is_standard_library(module_name: str) -> bool:
    top = module_name.partition(".")[0]
    return top in sys.stdlib_module_names and top != "__main__"


def _look_up(module: object, ref: str) -> type | None:
    """Follow the qualified name; only the class that itself bears this very name counts."""
    value: Any = module
    for part in ref.partition(":")[2].split("."):
        value = vars(value).get(part) if hasattr(value, "__dict__") else None
    return value if isinstance(value, type) and class_ref(value) == ref else None


def _imported(ref: str, plugins: Iterable[Mapping[str, Any]]) -> type | None:
    module_name = ref.partition(":")[0]
    parts = module_name.split(".")
    if "__main__" in parts or _is_standard_library(module_name):
        return None
    if not belongs_to_plugin(module_name):
        return None
    try:
        module = import_by_name(module_name)
    except (Exception, SystemExit) as error:
        raise CheckpointError(
            f"the checkpoint needs {ref}, whose module cannot be imported: {type(error).__name__}: {error}."
            f"{_advice(module_name, plugins)}"
        ) from error
    return _look_up(module, ref)


def _advice(module_name: str, plugins: Iterable[Mapping[str, Any]]) -> str:
    """Which distribution to install; of those that share a package, the one with the longest prefix of the module."""
    found = (0, "")
    for plugin in plugins:
        packages = plugin.get("packages")
        name, version = plugin.get("name"), plugin.get("version")
        if not (isinstance(packages, list) and isinstance(name, str) and isinstance(version, str)):
            continue
        for package in packages:
            if isinstance(package, str) and f"{module_name}.".startswith(f"{package}."):
                text = f" It was saved with {name} {version}: pip install {requirement(name, version)}"
                found = max(found, (len(package), text))
    return found[1]


def _not_found(ref: str, plugins: Iterable[Mapping[str, Any]]) -> str:
    module_name, _, name = ref.partition(":")
    advice = _advice(module_name, plugins)
    package = _package_of(module_name, ["rlkit_core", *plugin_packages()])
    if package is not None:
        return f"the checkpoint needs the class {ref}, which the installed {package} does not define.{advice}"
    if advice:
        return f"the checkpoint needs the class {ref}, whose package is not installed.{advice}"
    if _is_standard_library(module_name):
        return f"the checkpoint names {ref}: nothing from the standard library is loaded through a checkpoint"
    return (
        f"the checkpoint needs the class {ref}, which is neither part of rlkit_core nor of an installed "
        "plugin nor defined in this process; import its module first, or pass "
        f"classes=[{name.rpartition('.')[2]}]"
    )
