"""The checkpoints in one folder: saved whole, listed in an index, the oldest removed when there are enough."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from rlkit_core.checkpoint import files, strict_json
from rlkit_core.checkpoint.locate import (
    BEST,
    CHECKPOINTS,
    INDEX,
    BestCheckpoint,
    KeptCheckpoint,
    RunIndex,
    checkpoint_name,
    read_index,
)
from rlkit_core.checkpoint.thinning import thin
from rlkit_core.errors import CheckpointError

logger = logging.getLogger(__name__)

Write = Callable[[Path], object]
"""Writes a checkpoint as a folder, whole or not at all."""


class Shelf:
    """A folder's ``checkpoints/000123/``, ``best/`` and ``index.json``.

    The index names a checkpoint only once that is complete on disk, and no longer names one that is about to go.

    Args:
        folder: a run folder, or one that stands in for it; made when something is saved.
        keep: how many checkpoints stay beside the best.
        thin_older: whether all but the newest lose what is bulky, replay buffers for example.
    """

    def __init__(self, folder: Path, keep: int, *, thin_older: bool = False) -> None:
        self.folder, self._keep, self._thin_older = folder, keep, thin_older
        self.index = read_index(folder)

    @property
    def newest(self) -> Path | None:
        """The checkpoint that was saved last."""
        return self.folder / self.index.checkpoints[-1].path if self.index.checkpoints else None

    def tidy(self, up_to: int) -> None:
        """Remove what dead writers left, and the checkpoints of a later iteration, which is trained anew."""
        if (self.folder / CHECKPOINTS).is_dir():
            files.remove_leftovers(self.folder / CHECKPOINTS)
        files.remove_leftovers(self.folder)
        later = [one for one in self.index.checkpoints if one.iteration > up_to]
        if later:
            self._take_over([one for one in self.index.checkpoints if one.iteration <= up_to], self.index.best)

    def save(self, write: Write, about: KeptCheckpoint) -> Path:
        """Save a checkpoint, and remove the oldest.

        Raises:
            CheckpointError, OSError: what ``write`` raised; nothing has changed then.
        """
        path = self.folder / about.path
        write(path)
        others = [one for one in self.index.checkpoints if one.path != about.path]
        self._take_over([*others, about][-self._keep :], self.index.best)
        if self._thin_older:
            self._thin(path)
        return path

    def _thin(self, newest: Path) -> None:
        best = [] if self.index.best is None else [self.index.best.path]
        for older in {self.folder / name for name in (*(one.path for one in self.index.checkpoints), *best)} - {newest}:
            try:
                thin(older)
            except (CheckpointError, OSError) as error:
                logger.warning("%s keeps its replay buffers: %s", older, error)

    def save_best(self, write: Write, about: BestCheckpoint) -> Path:
        """Replace the best checkpoint.

        Raises:
            CheckpointError, OSError: what ``write`` raised; the former one is intact.
        """
        write(self.folder / BEST)
        self._take_over(list(self.index.checkpoints), about)
        return self.folder / BEST

    def forget(self) -> None:
        """Take the folder as it is, whatever was known of it: somebody else has changed it."""
        self.index = read_index(self.folder)

    def _take_over(self, checkpoints: list[KeptCheckpoint], best: BestCheckpoint | None) -> None:
        stay = {one.path for one in checkpoints}
        gone = [one for one in self.index.checkpoints if one.path not in stay]
        self.index = RunIndex(tuple(checkpoints), best)
        written = self._write_index()
        for one in gone:
            path = self.folder / one.path
            for directory in (path, path.with_name(f"{path.name}.old")):
                if directory.is_dir():
                    files.remove_directory(directory)
        if not written and not self._write_index():  # what went may have made room
            logger.warning("%s cannot be written; the folders say which checkpoints there are", self.folder / INDEX)

    def _write_index(self) -> bool:
        try:
            files.replace_file(self.folder / INDEX, strict_json.dumps(self.index.to_dict()))
        except OSError:
            return False
        return True


def linked_from(source: Path) -> Write:
    """Writes a copy of a checkpoint, with links to the same files where the file system has them."""

    def write(target: Path) -> None:
        files.copy_directory(source, target)

    return write


__all__ = ["Shelf", "Write", "checkpoint_name", "linked_from"]
