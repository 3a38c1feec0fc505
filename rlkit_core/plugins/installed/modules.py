"""Where Python would import a module from, and which distribution put a file there; nothing is imported to find out."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

from rlkit_core.plugins.installed.metadata import Folder, Metadata, canonical, read_headers, read_path

UNKNOWN_VERSION = "0+unknown"
"""The version of a package that lies on the path without metadata, and says none."""


class Place(NamedTuple):
    """Where a module's code is.

    Attributes:
        package: the shortest prefix of the module's name that is no namespace package: what one distribution owns.
        file: the file of that package; None where it is not found, or has none.
    """

    package: str
    file: str | None

    @property
    def folder(self) -> str | None:
        """The folder that would have to be on ``sys.path`` for that, its real path."""
        if self.file is None:
            return None
        up = self.package.count(".") + os.path.basename(self.file).startswith("__init__.")
        folder = os.path.dirname(self.file)
        for _ in range(up):
            folder = os.path.dirname(folder)
        return os.path.realpath(folder)


def place_of(module: str, path: Sequence[str] | None = None) -> Place:
    """Find where ``module`` is, or would be imported from; on ``sys.path`` unless ``path`` is given."""
    parts = module.split(".")
    search = None if path is None else list(path)
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        if path is None and name in sys.modules:
            file, below = _of_loaded(name)
        else:
            file, below = _of_spec(name, search, top=count == 1 and path is None)
        if file is not None or not below:
            return Place(name, file)
        search = below
    return Place(module, None)


def _of_loaded(name: str) -> tuple[str | None, list[str]]:
    try:
        module = vars(sys.modules[name])
        file = module.get("__file__")
        return (file if isinstance(file, str) else None), [str(p) for p in module.get("__path__") or ()]
    except Exception:  # anything may be put into sys.modules
        return None, []


def _of_spec(name: str, search: list[str] | None, *, top: bool) -> tuple[str | None, list[str]]:
    import importlib.util
    from importlib.machinery import PathFinder

    try:
        # Finders of editable installations know top-level names; below them files decide.
        spec = importlib.util.find_spec(name) if top else PathFinder.find_spec(name, search)
    except Exception:
        return None, []
    if spec is None:
        return None, []
    file = spec.origin if spec.has_location else None
    return file, list(spec.submodule_search_locations or ())


def is_installed(package: str) -> bool:
    """Whether Python would find a top-level package."""
    return place_of(package) != Place(package, None) or package in sys.modules


def module_of_file(file: str) -> str:
    """Return the name under which ``sys.path`` offers a file, or ``""``."""
    for folder in sys.path:
        if folder and lies_in(file, folder):
            stem = os.path.splitext(os.path.relpath(file, folder))[0].removesuffix("__init__")
            return stem.strip(os.sep).replace(os.sep, ".")
    return ""


_VERSION = re.compile(r"""^__version__\b[^=\n]*=\s*["']([^"'\n]+)["']""", re.MULTILINE)


def stated_version(file: str) -> str:
    """Return the ``__version__`` that the text of a package's file assigns, or :data:`UNKNOWN_VERSION`."""
    folder = os.path.dirname(file)
    beside = [file] if not os.path.basename(file).startswith("__init__.") else [
        file, *(os.path.join(folder, name) for name in ("_version.py", "version.py", "__about__.py"))
    ]  # fmt: skip
    for candidate in beside:
        try:
            with open(candidate, encoding="utf-8", errors="replace") as stream:
                match = re.search(
                    r"""^__version__\b[^=\n]*=\s*["']([^"'\n]+)["']""", stream.read(1 << 16), re.MULTILINE
                )
        except OSError:
            continue
        if match:
            return match[1]
    return UNKNOWN_VERSION


def editable_source(metadata: Metadata) -> str | None:
    """Return the folder that an editable installation was made from; None for any other installation."""
    import json

    try:
        data = json.loads(metadata.read("direct_url.json") or b"{}")
        url = str(data["url"])
        if data["dir_info"]["editable"] is True and url.startswith("file://"):
            path = url.removeprefix("file://")
            if "%" in path:
                from urllib.parse import unquote

                path = unquote(path)
            return os.path.realpath(path)
    except Exception:  # no such file in most installations; whatever else it may hold, it says nothing
        pass
    return None


def lies_in(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies inside of it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


# --------------------------------------------------------------------------- who installed a file


def installer_of(module: str) -> tuple[str, str] | None:
    """Return ``(distribution, version)`` of whoever installed a module; None where no metadata says so.

    Only the folder that the module lies in is looked at; for an editable installation, which keeps its files elsewhere,
    those that name their source.
    """
    if module.partition(".")[0] in sys.stdlib_module_names:
        return None
    place = place_of(module)
    if place.file is None or place.folder is None:
        return None
    return _installer(place.package, os.path.realpath(_file_of(module, place)), place.folder)


def _file_of(module: str, place: Place) -> str:
    """Return the file of a module below (or of) the package at ``place``; the package's where it has none."""
    package = str(place.file)
    below = module[len(place.package) + 1 :].split(".")
    stem = os.path.join(os.path.dirname(package), *below)
    loaded = _of_loaded(module)[0] if module in sys.modules else None
    candidates = [f"{stem}.py", os.path.join(stem, "__init__.py")] if below != [""] else []
    return loaded or next((file for file in candidates if os.path.exists(file)), package)


@functools.lru_cache(maxsize=1024)
def _installer(package: str, file: str, folder: str) -> tuple[str, str] | None:
    found = _recorded(package, file, folder) or _editable(package, file)
    if found is None:
        return None
    try:
        headers = read_headers(found)
        return canonical(headers.name or found.name), headers.version or found.version
    except (OSError, ValueError):
        return (found.name, found.version) if found.name and found.version else None


def _recorded(package: str, file: str, folder: str) -> Metadata | None:
    here = read_path([folder])
    metadata = here[0].metadata if here else []
    top = package.partition(".")[0]
    # Most distributions bear the name of their package: those are asked first.
    candidates = sorted(metadata, key=lambda m: (m.name != canonical(top), m.name, m.version))
    relative = os.path.relpath(file, folder).replace(os.sep, "/").encode("utf-8", "surrogateescape")
    for candidate in candidates:
        try:
            record = candidate.read("RECORD") or candidate.read("installed-files.txt") or b""
        except (OSError, ValueError):
            continue
        if record.startswith(relative + b",") or b"\n" + relative + b"," in record or b"/" + relative + b"\n" in record:
            return candidate
    # Those of an operating system have no RECORD.
    return next((candidate for candidate in candidates if _says_it_has(candidate, package)), None)


def _says_it_has(metadata: Metadata, package: str) -> bool:
    try:
        return package.encode() in (metadata.read("top_level.txt") or b"").split()
    except (OSError, ValueError):
        return False


def _editable(package: str, file: str) -> Metadata | None:
    """Find an editable installation from a folder that holds the file; tests and scripts lie there as well."""
    top = package.partition(".")[0]
    everything = [m for folder in read_path(None) for m in folder.metadata]
    owning = [m for m in everything if m.name == canonical(top) or _says_it_has(m, top)]
    inside = [m for m in owning if lies_in(file, editable_source(m) or os.devnull)]
    return min(inside, key=lambda m: m.name, default=None)


def folders_with(top: str, folders: Sequence[Folder]) -> list[Folder]:
    """Return the folders that hold something that ``import top`` may find, in the order of the path."""
    return [folder for folder in folders if top in folder.names or f"{top}.py" in folder.names]


def forget() -> None:
    """Forget what was found, for instance after something was installed."""
    import importlib

    importlib.invalidate_caches()
    _installer.cache_clear()
