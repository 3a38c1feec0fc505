"""A component with all below it, collected in memory before writing and checked in full after reading."""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from attrs import evolve, field, frozen

from rlkit_core.checkpoint import files, strict_json
from rlkit_core.checkpoint.segments import Segment
from rlkit_core.checkpoint.tree import (
    EncodedTree,
    decode_tree,
    parts_of,
    read_tree,
    segment_file,
    tree_of,
    write_tree,
)
from rlkit_core.errors import CheckpointError, PluginNotFoundError
from rlkit_core.plugins.choices import key_for
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.lookup import meaning
from rlkit_core.plugins.used.lock import Lock, installed_version, requirement, versions
from rlkit_core.plugins.used.pinned import Pinned, for_modules

FORMAT_VERSION = 1
CLASS_FILE = "class_and_ctor_args.json"
DEFAULT_STATE_FILE = "state"
COPIED = "copied"
"""Entry of a component's ``metadata.json``: who takes its state copies the arrays, so they are not read to memory."""


@frozen
class SavedComponent:
    """One component of a checkpoint, in memory.

    Attributes:
        class_ref: ``"package.module:Class"``.
        ctor: the constructor's ``[args, kwargs]`` as JSON data.
        tree: its own state, without that of its components.
        may_change: it may be loaded into a module that is built of other components.
    """

    class_ref: str
    ctor: Any
    tree: EncodedTree
    metadata: dict[str, Any]
    state_name: str = DEFAULT_STATE_FILE
    components: dict[str, SavedComponent] = field(factory=dict)
    may_change: bool = False

    @property
    def plugins(self) -> list[Mapping[str, Any]]:
        """The plugin distributions that it used: ``{"name", "version", "packages"}``."""
        listed = self.metadata.get("plugins")
        return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []

    @property
    def lock(self) -> Lock:
        """What it used, its components included; empty where that was not recorded."""
        try:
            return Lock.from_dict(self.metadata.get("lock"))
        except ValueError:
            return Lock()

    def traces(self) -> dict[str, list[dict[str, Any]]]:
        """The component traces of all modules in it, by module id."""
        found: dict[str, list[dict[str, Any]]] = {}
        for name, part in self.components.items():
            trace = part.metadata.get("component_trace")
            if isinstance(trace, list):
                found.setdefault(name, [choice for choice in trace if isinstance(choice, dict)])
            found.update(part.traces())
        return found

    def pinned(self) -> dict[str, Pinned]:
        """The choices of components for all modules in it, by module id."""
        return {module_id: Pinned.from_trace(trace) for module_id, trace in self.traces().items()}

    @contextmanager
    def as_built_before(self) -> Iterator[None]:
        """Inside, modules are built of the components in it, and short names mean what they meant at the save.

        Raises:
            PluginNotFoundError: as raised inside, with the lines that install what it used and nothing here supplies.
        """
        try:
            with for_modules(self.pinned()), meaning([entry.id for entry in self.lock.entries]):
                yield
        except PluginNotFoundError as error:
            snapshot = default_host().snapshot
            missing = self.lock.compare(lambda name: installed_version(snapshot, name) and self.lock.versions[name])
            new = [line for line in missing if line.rpartition(": ")[2] not in str(error)]
            if not new:
                raise
            raise PluginNotFoundError("\n".join([f"{error} The checkpoint used:", *new])) from error

    def allowing_component_change(self, allowed: bool = True) -> SavedComponent:
        """The same with all its components, for modules that may be built of other encoders, heads, distributions."""
        if not allowed:
            return self
        parts = {name: part.allowing_component_change() for name, part in self.components.items()}
        return evolve(self, components=parts, may_change=True)

    def check_components(self, trace: Iterable[Mapping[str, Any]]) -> None:
        """Compare with the choices of components of what it is loaded into.

        Raises:
            CheckpointError: one is another than the one that was saved; both are named.
        """
        saved = self.metadata.get("component_trace")
        before = dict(map(_place_and_id, saved)) if isinstance(saved, list) else {}
        for place, now in map(_place_and_id, trace):
            was = before.get(place, now)
            if now != was and not self.may_change:
                name = was.partition("/")[0]
                version = self.lock.versions.get(name)
                from_ = f" of {requirement(name, version)}" if version else ""
                raise CheckpointError(
                    f"{self.class_ref} was saved with {place} {was!r}{from_} and has {now!r} there now, for which its "
                    f"weights are not made: name what it had, components={{{place!r}: {was!r}}}, or pass "
                    "allow_component_change=True to load them all the same"
                )

    @property
    def left_out(self) -> list[str]:
        """Components that were left out of this checkpoint on purpose."""
        listed = self.metadata.get("left_out")
        return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []

    def state(self, *, to_copy: bool = False) -> Any:
        """Decode the component's own state.

        Args:
            to_copy: for one who copies its arrays and keeps none: they may be views of the file.
        """
        return decode_tree(self.tree if to_copy else self.tree.in_memory())


def _place_and_id(choice: object) -> tuple[str, str]:
    """Where a component stands, as ``components={...}`` names it, and its full id; of a row of a trace."""
    row = choice if isinstance(choice, Mapping) else {}
    path = row.get("path")
    names = [str(name) for name in path] if isinstance(path, list | tuple) else []
    return key_for(str(row.get("kind")), str(row.get("slot")), names), str(row.get("id"))


def split_component(path: str, known: Mapping[str, Any], where: str = "checkpoint") -> tuple[str, str]:
    """Split ``"a/b/c"`` into the known component it starts with and the rest; names may hold slashes.

    Raises:
        CheckpointError: it starts with none of the known names.
    """
    for name in sorted(known, key=len, reverse=True):
        if path == name:
            return name, ""
        if path.startswith(name + "/"):
            return name, path[len(name) + 1 :]
    names = ", ".join(repr(name) for name in known) or "none"
    raise CheckpointError(f"the {where} has no component {path!r}; its components are: {names}")


def directory_name(component: str) -> str:
    """Map a component's name to a directory name that is safe on every file system, one to one.

    >>> directory_name("learner_group"), directory_name("../p 0")
    ('learner_group', '%2E.%2Fp%200')
    """
    name = quote(component, safe="", errors="surrogatepass")
    if name[:1] in (".", "~"):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    stem, dot, suffix = name.rpartition(".")
    if dot and suffix in ("json", "safetensors", "old", ""):
        name = f"{stem}%2E{suffix}"
    if len(name) > 200:
        name = f"{name[:130]}-{hashlib.sha256(name.encode()).hexdigest()}"
    return name


def base_metadata() -> dict[str, Any]:
    """Collect what every component's metadata says: format, versions and time."""
    names = ("rlkit-core", "python", "torch", "numpy", "gymnasium")
    return {
        "format_version": FORMAT_VERSION,
        **{f"{name.replace('-', '_')}_version": version for name, version in versions().items() if name in names},
        "saved_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


# -- writing -----------------------------------------------------------------------------------------------


def write_snapshot(snapshot: SavedComponent, path: str | os.PathLike[str]) -> Path:
    """Write a snapshot as the checkpoint directory ``path``, atomically; return its absolute path.

    Where ``path`` is a link, the directory it points to is replaced.

    Raises:
        CheckpointError: the target holds something else, or writing failed (disk full, no permission); what
            was there before is untouched.
    """
    _check_writable(snapshot)
    target = files.absolute(path)
    try:
        target = target.resolve() if target.is_symlink() else target
        with files.replacing_directory(target) as fresh:
            _write_component(snapshot, fresh)
        _say_where(snapshot, target)
    except OSError as error:
        raise CheckpointError(f"cannot write the checkpoint {target}: {error}") from error
    return target


def _check_writable(snapshot: SavedComponent) -> None:
    strict_json.dumps([snapshot.ctor, snapshot.metadata, snapshot.tree.document])
    names: dict[str, str] = {}
    for name, child in snapshot.components.items():
        other = names.setdefault(directory_name(name).casefold(), name)
        if other != name:
            raise CheckpointError(
                f"components {other!r} and {name!r} differ only in case, which not every file system can tell apart"
            )
        _check_writable(child)


def _say_where(snapshot: SavedComponent, directory: Path) -> None:
    """Tell segments where a checkpoint that is now complete has their files."""
    for index, segment in enumerate(snapshot.tree.segments):
        segment.is_at(directory / segment_file(snapshot.state_name, index))
    for name, child in snapshot.components.items():
        _say_where(child, directory / directory_name(name))


def _write_component(snapshot: SavedComponent, directory: Path) -> None:
    document = {"class": snapshot.class_ref, "ctor_args_and_kwargs": snapshot.ctor}
    described = {CLASS_FILE: files.write_bytes(directory / CLASS_FILE, strict_json.dumps(document))}
    described |= write_tree(snapshot.tree, directory, snapshot.state_name)
    segments = snapshot.tree.segments
    for index, segment in enumerate(segments):
        name = segment_file(snapshot.state_name, index)
        described[name] = segment.write(directory / name, parts_of)
    for name, child in snapshot.components.items():
        path = directory / directory_name(name)
        os.mkdir(path)
        _write_component(child, path)
    metadata = {
        **snapshot.metadata,
        "class": snapshot.class_ref,
        "state_file": snapshot.state_name,
        "components": list(snapshot.components),
        "files": described,
        **({"segments": len(segments)} if segments else {}),
    }
    files.write_bytes(directory / files.METADATA_FILE, strict_json.dumps(metadata))


# -- reading -----------------------------------------------------------------------------------------------


def read_snapshot(path: str | os.PathLike[str]) -> tuple[SavedComponent, Path]:
    """Read a checkpoint, checking every file of it; return it with the directory it was read from.

    When ``path`` is missing and ``path.old`` is there (an interrupted save), that is read, with a warning. A
    checkpoint that is replaced while it is read is read again.

    Raises:
        CheckpointNotFoundError: there is no checkpoint.
        CheckpointError: a file is missing, damaged or refused; the message names it.
    """
    absent = 0
    for _ in range(20):
        try:
            directory, fallback = files.locate(path)
        except CheckpointError:
            absent += 1  # or a save is between its two renames
            if absent == 4:
                raise
        else:
            absent = 0
            before = _identity(directory)
            try:
                snapshot = _read_component(directory)
                if _identity(directory) == before:
                    break
            except CheckpointError:
                if before is not None and _identity(directory) == before:
                    raise
        time.sleep(0.01)
    else:
        raise CheckpointError(f"{path} was replaced again and again while it was read")
    if fallback:
        warnings.warn(
            f"{path} is missing, as after an interrupted save; loaded the previous one, {directory}",
            UserWarning,
            stacklevel=3,
        )
    return snapshot, directory


def _identity(directory: Path) -> tuple[int, int] | None:
    try:
        info = (directory / files.METADATA_FILE).stat()
    except OSError:
        return None
    return info.st_ino, info.st_mtime_ns


def read_metadata(directory: Path) -> dict[str, Any]:
    """Read and check a component's ``metadata.json``.

    Raises:
        CheckpointError: it is missing or damaged, or of a newer format.
    """
    path = directory / files.METADATA_FILE
    metadata = strict_json.loads(files.read_bytes(path, files.METADATA_LIMIT), str(path))
    version = metadata.get("format_version") if isinstance(metadata, dict) else None
    if type(version) is not int or version < 1:
        raise CheckpointError(f"{path} has no valid format_version: not a checkpoint of rlkit")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: the checkpoint has format {version}, this rlkit-core reads up to {FORMAT_VERSION}; "
            f"it was saved with rlkit-core {metadata.get('rlkit_core_version')}: pip install --upgrade "
            "rlkit-core"
        )
    if not isinstance(metadata.get("files"), dict) or not isinstance(metadata.get("components"), list):
        raise CheckpointError(f"{path} is damaged: 'files' or 'components' is missing")
    return dict(metadata)


def check_snapshot(directory: Path) -> None:
    """Check every file of a checkpoint's directory without loading it.

    Raises:
        CheckpointError: as :func:`read_snapshot`.
    """
    metadata, state_name = _checked_metadata(directory)
    for segment in _segments(directory, state_name, metadata):
        segment.check()
    for _, inside in _component_directories(directory, metadata):
        check_snapshot(inside)


def _checked_metadata(directory: Path) -> tuple[dict[str, Any], str]:
    """The metadata of a component whose own files are as they were written, and the name of its state."""
    metadata, state_name = _metadata_and_state(directory)
    for name in (CLASS_FILE, f"{state_name}.json", f"{state_name}.safetensors"):
        _check_file(directory / name, metadata["files"].get(name))
    return metadata, state_name


def _metadata_and_state(directory: Path) -> tuple[dict[str, Any], str]:
    metadata = read_metadata(directory)
    state_name = metadata.get("state_file")
    if not isinstance(state_name, str) or not state_name.isidentifier():
        raise CheckpointError(f"{directory / files.METADATA_FILE}: invalid state_file {str(state_name)[:80]!r}")
    return metadata, state_name


def read_ctor(directory: Path) -> SavedComponent:
    """Read what a checkpoint's directory says of its outermost component, without state and parts.

    Raises:
        CheckpointError: a file of it is missing or damaged.
    """
    metadata = read_metadata(directory)
    return SavedComponent(*_read_ctor(directory, metadata), EncodedTree({}, {}), metadata)


def _read_component(directory: Path) -> SavedComponent:
    """Read a component; every file of it is read once, and its hash is looked at on the way."""
    metadata, state_name = _metadata_and_state(directory)
    ref, ctor = _read_ctor(directory, metadata)
    segments, mapped = _segments(directory, state_name, metadata), metadata.get(COPIED) is True
    tree = read_tree(directory, state_name, segments, metadata["files"], mapped=mapped)
    components = {name: _read_component(sub) for name, sub in _component_directories(directory, metadata)}
    return SavedComponent(ref, ctor, tree, metadata, state_name, components)


def _read_ctor(directory: Path, metadata: dict[str, Any]) -> tuple[str, Any]:
    path = directory / CLASS_FILE
    document = strict_json.loads(files.read_checked(path, metadata["files"].get(CLASS_FILE)), str(path))
    ref = document.get("class") if isinstance(document, dict) else None
    if not isinstance(ref, str) or "ctor_args_and_kwargs" not in document:
        raise CheckpointError(f"{path} is damaged: 'class' or 'ctor_args_and_kwargs' is missing")
    return ref, document["ctor_args_and_kwargs"]


def _check_file(path: Path, entry: object) -> None:
    sha256, _ = files.recorded(path, entry)
    if files.sha256_of(path) != sha256:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one recorded at the save")


def _segments(directory: Path, state_name: str, metadata: dict[str, Any]) -> list[Segment]:
    count = metadata.get("segments", 0)
    if type(count) is not int or not 0 <= count <= len(metadata["files"]):
        raise CheckpointError(f"{directory / files.METADATA_FILE}: invalid number of segments {str(count)[:80]!r}")
    names = [segment_file(state_name, index) for index in range(count)]
    return [Segment.at(directory / name, metadata["files"].get(name), tree_of) for name in names]


def _component_directories(directory: Path, metadata: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    seen: set[str] = set()
    for name in metadata["components"]:
        if not isinstance(name, str) or not name or name in seen:
            raise CheckpointError(f"{directory / files.METADATA_FILE}: invalid component name {str(name)[:80]!r}")
        seen.add(name)
        path = directory / directory_name(name)
        if path.is_symlink() or not path.is_dir():
            raise CheckpointError(f"{path} is missing or not a directory (links are refused)")
        yield name, path


def get_checkpoint_info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Describe a checkpoint without loading it: class, versions, plugins, and the tree of its components.

    Returns:
        A dict with ``type`` (class name), ``class``, ``version`` (of the format), ``format``,
        ``checkpoint_dir``, ``components`` (nested dicts of names) and the rest of the metadata.

    Raises:
        CheckpointError: there is no checkpoint, or its metadata is damaged.
    """
    directory, _ = files.locate(path)
    metadata = read_metadata(directory)
    ref = str(metadata.get("class"))
    return {
        **metadata,
        "type": ref.rpartition(":")[2].rpartition(".")[2],
        "version": metadata["format_version"],
        "format": "json+safetensors",
        "checkpoint_dir": str(directory),
        "components": _component_tree(directory, metadata),
    }


def _component_tree(directory: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    return {name: _component_tree(sub, read_metadata(sub)) for name, sub in _component_directories(directory, metadata)}
