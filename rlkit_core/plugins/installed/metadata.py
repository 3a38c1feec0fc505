"""Metadata folders (``*.dist-info``, ``*.egg-info``), read without trusting that any of them is in order.

``importlib_metadata`` takes longer to import than a listing may last, and raises on what is broken. So the folders that
nearly every installation consists of are read here; zip files, eggs and finders of others still go through it.
"""

from __future__ import annotations

import functools
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

_SEPARATORS = re.compile(r"[-_.]+")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MOST_BYTES = 4_000_000  # of a metadata file; the headers of METADATA come first
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


@functools.lru_cache(maxsize=4096)
def canonical(name: str) -> str:
    """Return a name in the normal form of PEP 503: ``"RLKit_PPO"`` is ``"rlkit-ppo"``.

    Names of entry points and records are compared in this form too, so that ``my-algo`` and ``My_Algo`` are one name.
    """
    return _SEPARATORS.sub("-", name.strip()).casefold()


class Metadata:
    """The metadata of one distribution.

    Attributes:
        stem: the name of the folder, without its ending.
        name: in normal form, by the name of the folder.
        version: by the name of the folder; ``""`` where that says none.
        location: the folder on ``sys.path`` that it lies in, its real path.
        folder: where its files are; ``""`` where they are no files.
    """

    def __init__(
        self, stem: str, location: str, folder: str, read_text: Callable[[str], str | None] | None = None
    ) -> None:
        name, _, version = stem.partition("-")
        if "-" in version and not version[:1].isdigit():  # an old tool's: the name holds a "-"
            match = re.match(r"(.+?)-(\d.*)\Z", stem)
            name, version = match.groups() if match else (name, version)
        self.stem = stem
        self.name = canonical(name)
        self.version = version.partition("-")[0]
        self.location = location
        self.folder = folder
        self._read_text = read_text

    def read(self, file: str) -> bytes | None:
        """Return what a file of the metadata holds, or None where there is no such file.

        Raises:
            OSError, ValueError: there is one and it cannot be read, is no regular file, or is larger than 4 MB.
        """
        if self._read_text is not None:
            text = self._read_text(file)
            return None if text is None else text.encode("utf-8", "surrogatepass")
        try:
            handle = os.open(os.path.join(self.folder, file), _READ_FLAGS)  # a pipe would block for ever
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is no regular file")
            if status.st_size > _MOST_BYTES and file != "METADATA":
                raise ValueError(f"it has {status.st_size:,} bytes")
            return _all_bytes(handle)
        finally:
            os.close(handle)

    @property
    def headers_file(self) -> str:
        """The file that holds the headers: ``METADATA``, or ``PKG-INFO`` in an egg-info folder."""
        return "PKG-INFO" if self.folder.endswith(".egg-info") else "METADATA"


def _all_bytes(handle: int) -> bytes:
    parts = []
    left = _MOST_BYTES
    while left > 0 and (part := os.read(handle, min(left, 1 << 16))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


class Folder(NamedTuple):
    """A folder (or archive) on ``sys.path``: its real path, the names in it, and the metadata found there."""

    location: str
    names: frozenset[str]
    metadata: list[Metadata]


def read_path(path: Sequence[str] | None) -> list[Folder]:
    """Look into each folder of ``path`` (``sys.path`` unless given), in its order; what is not there is left out."""
    folders: dict[str, Folder] = {}
    for entry in sys.path if path is None else path:
        if not isinstance(entry, str | os.PathLike):  # Python ignores it as well
            continue
        try:
            root = os.fspath(entry) or "."
            location = os.path.realpath(root)
            if location in folders:
                continue
            folders[location] = _read_folder(root, location)
        except (OSError, ValueError, TypeError):  # not there, a name that holds a NUL, bytes
            continue
    if path is None:
        for metadata in _of_other_finders():
            folders.setdefault(metadata.location, Folder(metadata.location, frozenset(), [])).metadata.append(metadata)
    return list(folders.values())


def _read_folder(root: str, location: str) -> Folder:
    try:
        names = frozenset(os.listdir(root))
    except NotADirectoryError:  # a zip file
        return Folder(location, frozenset(), list(_of_archive(root, location)))
    found = []
    for name in sorted(names):  # the order of a directory is nobody's decision
        if name.endswith((".dist-info", ".egg-info")) and name[0] != "~":  # pip's sign of a half removed one
            found.append(Metadata(name.rpartition(".")[0], location, os.path.join(root, name)))
    if root.lower().endswith(".egg"):
        found.extend(_of_archive(root, location))
    return Folder(location, names, found)


def _of_archive(root: str, location: str) -> Iterator[Metadata]:
    try:
        import importlib_metadata

        context = importlib_metadata.DistributionFinder.Context(path=[root])  # type: ignore[no-untyped-call]
        distributions = list(importlib_metadata.MetadataPathFinder().find_distributions(context))
    except Exception:  # a file that is no archive
        return
    for distribution in distributions:
        metadata = _wrapped(distribution, location)
        if metadata is not None:
            yield metadata


def _of_other_finders() -> Iterator[Metadata]:
    """What finders other than Python's own offer; setuptools' and conda's editable ones offer nothing."""
    for finder in list(sys.meta_path):
        module = str(getattr(finder, "__module__", "")).partition(".")[0]
        if module in ("_frozen_importlib_external", "importlib_metadata") or not hasattr(finder, "find_distributions"):
            continue
        try:
            import importlib_metadata

            context = importlib_metadata.DistributionFinder.Context()  # type: ignore[no-untyped-call]
            distributions = list(finder.find_distributions(context))
        except Exception:
            continue
        for distribution in distributions:
            metadata = _wrapped(distribution, None)
            if metadata is not None:
                yield metadata


def _wrapped(distribution: Any, location: str | None) -> Metadata | None:
    try:
        name, version = str(distribution.metadata["Name"]), str(distribution.version)
        where = location or os.path.realpath(str(distribution.locate_file("")))
    except Exception:
        return None
    return Metadata(f"{name.replace('-', '_')}-{version}", where, "", distribution.read_text)


# --------------------------------------------------------------------------- what the files say


class Headers(NamedTuple):
    """The headers of METADATA that matter here."""

    name: str | None
    version: str | None
    requires: tuple[str, ...]
    requires_python: str | None


def read_headers(metadata: Metadata) -> Headers:
    """Read the headers of METADATA; parsing them as an e-mail would cost a third of a listing's time.

    Bytes that are no UTF-8 (a name of an author in another encoding) are replaced.

    Raises:
        OSError, ValueError: there are none, or they cannot be read.
    """
    data = metadata.read(metadata.headers_file)
    if data is None:
        raise FileNotFoundError(f"it has no {metadata.headers_file}")
    values: dict[str, str] = {}
    requires = []
    head = data.partition(b"\n\n")[0].partition(b"\r\n\r\n")[0]  # what follows is the description
    for line in head.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "replace").splitlines():
        key, colon, value = line.partition(":")
        if not colon or line[0].isspace():
            continue
        key, value = key.lower(), value.strip()
        if key == "requires-dist":
            requires.append(value)
        else:
            values.setdefault(key, value)
    if metadata.headers_file == "PKG-INFO" and not requires:
        requires = _requires_of_egg(metadata)
    name, version, python = (values.get(key) or None for key in ("name", "version", "requires-python"))
    return Headers(name, version, tuple(requires), python)


def _requires_of_egg(metadata: Metadata) -> list[str]:
    if metadata.read("requires.txt") is None:
        return []
    from pathlib import Path

    import importlib_metadata

    try:
        return list(importlib_metadata.PathDistribution(Path(metadata.folder)).requires or ())
    except Exception as exc:
        raise ValueError(f"its requires.txt cannot be read: {type(exc).__name__}") from exc


class Entries(NamedTuple):
    """What an ``entry_points.txt`` says about rlkit.

    Attributes:
        entries: ``(group, name, value)`` as written, in the order of the file, names unique inside a group.
        damage: what cannot be read, so that something is missing.
        notes: what is odd, so that something may be missing: an unknown group, a name given twice.
    """

    entries: list[tuple[str, str, str]]
    damage: list[str]
    notes: list[str]


def mentions_rlkit(data: bytes) -> bool:
    """Whether an ``entry_points.txt`` can have a group of rlkit's, misspelt and misencoded ones included."""
    return b"rlkit" in data.lower().translate(None, b"-_\0")


def parse_entry_points(data: bytes, groups: Sequence[str]) -> Entries:
    """Read the entry points of ``groups``; a group whose name is near one of them is said, and what is no entry."""
    found = Entries([], [], [])
    try:
        text = data.removeprefix(_BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as exc:
        found.damage.append(f"its entry_points.txt is no UTF-8 text (byte {data[exc.start]:#04x} at {exc.start})")
        text = data.decode("utf-8", "replace")
    if "\0" in text:
        found.damage.append("its entry_points.txt holds NUL bytes (is it UTF-16?)")
        text = text.replace("\0", "")
    values: dict[tuple[str, str], str] = {}
    group = ""
    for line in map(str.strip, text.splitlines()):
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            group = line[1:-1].strip()
            note = None if group in groups else _unknown_group(group, groups)
            if note and note not in found.notes:
                found.notes.append(note)
            continue
        if group not in groups:
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not name or not value:
            found.damage.append(
                f"its entry_points.txt has {_short(line)} in [{group}], expected 'name = module:attribute'"
            )
        elif (group, name) not in values:
            values[group, name] = value
            found.entries.append((group, name, value))
        elif values[group, name] != value:
            first = values[group, name]
            found.notes.append(
                f"[{group}] names {_short(name)} twice: {_short(first)} counts, {_short(value)} does not"
            )
    return found


def _short(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")


def _unknown_group(group: str, groups: Sequence[str]) -> str | None:
    folded = canonical(group).replace("-", ".")
    if not folded.replace(".", "").startswith("rlkit"):
        return None
    import difflib

    near = difflib.get_close_matches(folded, groups, n=1, cutoff=0.75)
    if not near and not folded.startswith("rlkit.") and folded != "rlkit":  # somebody else's: [rlkitchen.recipes]
        return None
    meant = f"did you mean [{near[0]}]?" if near else f"rlkit reads {', '.join(f'[{g}]' for g in groups)}"
    return f"[{group if len(group) <= 120 else group[:117] + '...'}] is no group of rlkit's: {meant}"
