"""Files that survive crashes: flushed writes, atomic replacement of a directory, checked reads."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlkit_core.errors import CheckpointError, CheckpointNotFoundError

METADATA_FILE = "metadata.json"
JSON_LIMIT = 1 << 30  # bytes; a larger JSON file is refused before it is read
METADATA_LIMIT = 64 << 20
_BLOCK = 1 << 20


# -- single files ------------------------------------------------------------------------------------------


def write_bytes(path: Path, data: bytes) -> dict[str, Any]:
    """Write a new file and flush it to disk; what ``metadata.json`` is to know of it, ``{"sha256", "size"}``."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def sync_directory(path: Path) -> None:
    """Flush a directory's entries to disk, where the platform can."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_plain_file(path: Path) -> int:
    """Return the size of a regular file; a link, directory or absent file is an error naming it.

    Raises:
        CheckpointError: it is not a regular file.
        CheckpointNotFoundError: it does not exist.
    """
    try:
        info = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointNotFoundError(f"{path} is missing") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not stat.S_ISREG(info.st_mode):
        raise CheckpointError(f"{path} is not a regular file (links are refused)")
    return info.st_size


def read_bytes(path: Path, limit: int) -> bytes:
    """Read a regular file of at most ``limit`` bytes.

    Raises:
        CheckpointError: it is missing, a link, too large or unreadable.
    """
    size = check_plain_file(path)
    if size > limit:
        raise CheckpointError(f"{path} has {size} bytes; at most {limit} are read")
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hex, reading it in blocks."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return digest.hexdigest()


def recorded(path: Path, entry: object) -> tuple[str, int]:
    """The hash and size that ``metadata.json`` has of a file, which is there and has that size.

    Raises:
        CheckpointError: it is not, or no entry is in ``metadata.json``.
    """
    if not isinstance(entry, dict) or not {"sha256", "size"} <= entry.keys():
        raise CheckpointError(f"{path}: {METADATA_FILE} does not list it with its hash and size")
    size = check_plain_file(path)
    if size != entry["size"]:
        raise CheckpointError(f"{path} is damaged: it has {size} bytes, {entry['size']} were written")
    return str(entry["sha256"]), size


def read_checked(path: Path, entry: object) -> bytes:
    """Read a file that ``metadata.json`` lists, and look at its hash.

    Raises:
        CheckpointError: it is missing, a link, too large, not as it was written, or unreadable.
    """
    sha256, _ = recorded(path, entry)
    data = read_bytes(path, JSON_LIMIT)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one recorded at the save")
    return data


# -- directories -------------------------------------------------------------------------------------------


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path, ``~`` expanded, links kept."""
    return Path(os.path.abspath(Path(path).expanduser()))


def is_checkpoint(path: Path) -> bool:
    """Tell whether a directory holds a checkpoint (its metadata file is there and says so)."""
    metadata = path / METADATA_FILE
    try:
        return metadata.is_file() and b'"format_version"' in metadata.read_bytes()
    except OSError:
        return False


def locate(path: str | os.PathLike[str]) -> tuple[Path, bool]:
    """Find the checkpoint directory; ``(path, True)`` when it is the ``.old`` that an interrupted save left.

    A path below a checkpoint (``NAME/learner_group``) falls back to ``NAME.old/learner_group``.

    Raises:
        CheckpointNotFoundError: there is neither.
    """
    wanted = absolute(path)
    try:
        return _locate(wanted)
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{wanted} cannot be read: {error}") from error


def _locate(wanted: Path) -> tuple[Path, bool]:
    if (wanted / METADATA_FILE).exists():
        return wanted, False
    for part in (wanted, *wanted.parents):
        old = part.with_name(part.name + ".old") if part.name else part
        if not part.exists() and is_checkpoint(old) and is_checkpoint(old / wanted.relative_to(part)):
            return old / wanted.relative_to(part), True
    if wanted.is_dir():
        raise CheckpointNotFoundError(f"{wanted} is a directory without {METADATA_FILE}: not a checkpoint")
    raise CheckpointNotFoundError(f"no checkpoint at {wanted}")


@contextmanager
def replacing_directory(target: Path) -> Iterator[Path]:
    """Yield a fresh directory beside ``target``, which replaces ``target`` when the block ends without an error.

    At every moment one of ``target`` and ``target.old`` is complete, if there was one before. On an error the fresh
    directory is removed and ``target`` is untouched.

    Raises:
        CheckpointError: ``target`` (or ``target.old``) is a file, or a directory with other content.
    """
    old = target.with_name(target.name + ".old")
    for path in (target, old):
        _check_replaceable(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent, target.name)
    fresh = _beside(target, "new")
    os.mkdir(fresh)
    try:
        yield fresh
        for directory, _, _ in os.walk(fresh, topdown=False):
            sync_directory(Path(directory))
        _swap_in(fresh, target, old)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _check_replaceable(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise CheckpointError(f"{path} exists and is not a directory; choose another path")
    if path.is_dir() and not is_checkpoint(path) and any(path.iterdir()):
        raise CheckpointError(
            f"{path} is a directory that holds something else than a checkpoint; choose another path, or empty it"
        )


def _swap_in(fresh: Path, target: Path, old: Path) -> None:
    if target.is_dir() and not is_checkpoint(target):  # empty, as checked before
        target.rmdir()
    had_one = target.exists()
    if had_one:
        if old.exists():  # left by an interrupted save; target is complete, so it is not needed
            _discard(old, target)
        os.rename(target, old)
    try:
        os.rename(fresh, target)
    except BaseException:
        if had_one:
            os.rename(old, target)
        raise
    sync_directory(target.parent)
    if old.exists():
        _discard(old, target)


def copy_directory(source: Path, target: Path) -> None:
    """Copy a checkpoint, all or nothing: its files are linked where the file system can, and copied elsewhere.

    Raises:
        OSError: it could not be read or written; what was at ``target`` is untouched.
        CheckpointError: ``target`` holds something else than a checkpoint.
    """
    with replacing_directory(target) as fresh:
        for directory, names, inside in os.walk(source):
            there = fresh / Path(directory).relative_to(source)
            for name in names:
                os.mkdir(there / name)
            for name in inside:
                try:
                    os.link(Path(directory) / name, there / name)
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.ENOENT, errno.EIO):
                        raise
                    shutil.copyfile(Path(directory) / name, there / name)
                    with open(there / name, "rb+") as file:
                        os.fsync(file.fileno())


def remove_directory(path: Path) -> None:
    """Remove a directory with all that is in it; at every moment it is there whole, or not at all by its name.

    Raises:
        OSError: it is not there, or cannot be renamed.
    """
    _discard(path, path)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file in place of the one that is there, all or nothing.

    Raises:
        OSError: it could not be written; the file that was there is untouched.
    """
    fresh = _beside(path, "new")
    try:
        write_bytes(fresh, data)
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _discard(path: Path, target: Path) -> None:
    trash = _beside(target, "gone")
    os.rename(path, trash)
    shutil.rmtree(trash, ignore_errors=True)


def _host() -> str:
    return "".join(c if c.isalnum() else "_" for c in socket.gethostname())[:40] or "host"


def _beside(target: Path, purpose: str) -> Path:
    return target.with_name(f".{target.name}.{purpose}-{_host()}-{os.getpid()}-{secrets.token_hex(4)}")


def remove_leftovers(directory: Path, name: str | None = None) -> None:
    """Remove temporary entries of a directory that dead writers of this machine left (for ``name`` alone)."""
    pattern = re.compile(rf"\.{re.escape(name) if name else '.+'}\.(new|gone)-{re.escape(_host())}-([0-9]+)-[0-9a-f]+")
    for entry in list(directory.iterdir()):
        match = pattern.fullmatch(entry.name)
        if match is None or _alive(int(match[2])):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return True  # no harmless way to ask; leave it
    try:
        os.kill(pid, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True
