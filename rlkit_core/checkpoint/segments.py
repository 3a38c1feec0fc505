"""Parts of a state that never change: written once, hashed once, and shared by all checkpoints that hold them.

A replay buffer of gigabytes costs a save only what is new this way. A segment's file is a hard link in each checkpoint
after the first, so every checkpoint is complete by itself, none is touched when another one goes, and a file goes with
the last that holds it. Where a file system has no hard links, files are copied.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from rlkit_core.checkpoint import arrays, files, strict_json
from rlkit_core.errors import CheckpointError

Encode = Callable[[object], tuple[Any, dict[str, Any]]]
"""From a state tree to its document and its tensors."""
Decode = Callable[[Any, dict[str, Any]], Any]
"""And back."""
_TREE = "tree"
_HOMES = 8
_MOST_CHECKED = 1 << 16
_SETTLED_NS = 2_000_000_000  # clocks of file systems tick slowly: what was written just now may look unchanged
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_checked: dict[tuple[int, ...], str] = {}
"""Hashes of files that were looked at, by what the files were like then."""
_without_links: set[int] = set()
"""Devices of which it was said that they have no hard links."""

logger = logging.getLogger(__name__)


@frozen
class _Home:
    """A file that holds a segment, as it was when it was last looked at."""

    path: Path
    identity: tuple[int, int, int, int]

    @classmethod
    def of(cls, path: Path) -> _Home:
        return cls(path, _identity(path.lstat()))

    @property
    def is_intact(self) -> bool:
        """Whether the very same file is still there, not written to since."""
        try:
            return _identity(self.path.lstat()) == self.identity
        except OSError:
            return False


def _identity(info: os.stat_result) -> tuple[int, int, int, int]:
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


class Segment:
    """A state tree that stays as it is, a leaf of the state of whoever keeps it.

    The one who keeps it puts the same object into each state that it gives to a save
    (:meth:`Checkpointable.get_state_to_save`). What comes out of a checkpoint is a segment too: its tree is there for
    the asking, and later saves link the file it came from.

    Args:
        tree: gives the state tree: as often as it has to be written, where no file of an earlier save is left.
        views: gives it with arrays that may be views of a file; like ``tree`` unless given.

    Attributes:
        sha256: hash of its file, once there is one.
        size: bytes of its file.
    """

    def __init__(self, tree: Callable[[], Any], views: Callable[[], Any] | None = None) -> None:
        self._tree = tree
        self._views = views
        self._homes: list[_Home] = []
        self.sha256, self.size = "", 0

    def tree(self, *, to_copy: bool = False) -> Any:
        """The state tree.

        Args:
            to_copy: for one who copies its arrays and keeps none: of a segment that was loaded they may be views of its
                file then.
        """
        return self._tree() if self._views is None or not to_copy else self._views()

    def comes_from(self, tree: Callable[[], Any]) -> None:
        """Let the tree come from elsewhere from now on: of a segment that was loaded, free what it holds."""
        self._tree, self._views = tree, None

    def check(self) -> None:
        """Look whether the file that it was loaded from has what was written.

        Raises:
            CheckpointError: it has not.
        """
        path = self._homes[0].path
        seen = path.lstat()
        if files.sha256_of(path) != self.sha256:
            raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one recorded at the save")
        if len(_checked) >= _MOST_CHECKED:
            _checked.clear()
        if time.time_ns() - max(seen.st_mtime_ns, seen.st_ctime_ns) > _SETTLED_NS:
            _checked[_state_of(seen)] = self.sha256

    @property
    def is_stored(self) -> bool:
        """Whether a file of an earlier save holds it, so that its tree is not needed for the next one."""
        self._homes = [home for home in self._homes if home.is_intact]
        return bool(self._homes)

    # -- files --------------------------------------------------------------------------------------------------------

    def write(self, path: Path, encode: Encode) -> dict[str, Any]:
        """Put its file at ``path``, linked where one exists; what ``metadata.json`` says of it."""
        if not (self.is_stored and any(self._link(home.path, path) for home in self._homes)):
            document, tensors = encode(self.tree())
            about = {_TREE: strict_json.dumps(document, lines=False).decode()}
            described = arrays.write_tensors(path, tensors, about)
            self.sha256, self.size = described["sha256"], described["size"]
        return {"sha256": self.sha256, "size": self.size}

    def _link(self, source: Path, path: Path) -> bool:
        try:
            os.link(source, path, follow_symlinks=False)
            return True
        except (OSError, NotImplementedError) as error:  # no hard links here, too many, or another file system
            if not isinstance(error, OSError) or error.errno in _NO_LINKS:
                _say_without_links(path.parent)
            path.unlink(missing_ok=True)
        try:
            shutil.copyfile(source, path)
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
            if files.sha256_of(path) == self.sha256:
                return True
        except (OSError, CheckpointError):
            pass
        path.unlink(missing_ok=True)
        return False

    def is_at(self, path: Path) -> None:
        """Its file has come to ``path``, as far as anybody knows."""
        try:
            home = _Home.of(path)
        except OSError:
            return
        self._homes = [home, *(other for other in self._homes if other.path != path)][:_HOMES]

    @classmethod
    def at(cls, path: Path, recorded: object, decode: Decode) -> Segment:
        """The segment that a checkpoint holds at ``path``; its hash is checked when its tree is asked for.

        Args:
            path: the file.
            recorded: what ``metadata.json`` says of it.
            decode: makes the state tree.

        Raises:
            CheckpointError: it is missing, no regular file, of another size, or was not recorded.
        """
        sha256, size = files.recorded(path, recorded)
        entry = {"sha256": sha256, "size": size}
        segment = cls(lambda: _read(path, entry, decode), lambda: _read(path, entry, decode, mapped=True))
        segment.sha256, segment.size = sha256, size
        segment.is_at(path)
        return segment


def _state_of(info: os.stat_result) -> tuple[int, ...]:
    """Like :func:`_identity`, and with the time at which anything about the file was changed, even its name."""
    return *_identity(info), info.st_ctime_ns


def _say_without_links(folder: Path) -> None:
    device = folder.stat().st_dev
    if device not in _without_links:
        _without_links.add(device)
        logger.warning(
            "the file system of %s has no hard links: every checkpoint copies what it shares with earlier ones, replay "
            "buffers above all; checkpointing(replay='last') keeps them in the newest alone",
            folder.parent,
        )


def _read(path: Path, recorded: dict[str, Any], decode: Decode, *, mapped: bool = False) -> Any:
    checked = path.exists() and _checked.get(_state_of(path.lstat())) == recorded["sha256"]
    tensors, about = arrays.read_tensors(path, recorded, mapped=mapped, checked=checked)
    document = strict_json.loads(about.get(_TREE, "").encode(), str(path))
    return decode(document, tensors)
