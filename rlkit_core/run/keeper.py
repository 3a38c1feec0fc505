"""A run's checkpoints while it goes on: when they are saved, where, and what happens when the disk refuses."""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from attrs import frozen

from rlkit_core.checkpoint.locate import BestCheckpoint, KeptCheckpoint, checkpoint_name, run_of
from rlkit_core.errors import CheckpointError
from rlkit_core.run.shelf import Shelf, Write, linked_from
from rlkit_core.run.signals import Signals

if TYPE_CHECKING:
    from rlkit_core.algorithm.config.config import AlgorithmConfig

logger = logging.getLogger(__name__)


class Saves(Protocol):
    """What is saved: an algorithm."""

    def save_to_path(self, path: Path) -> Any:
        """Write a checkpoint, whole or not at all."""


@frozen
class Position:
    """Where a run stands at an iteration's end, over its whole life; see :class:`KeptCheckpoint`."""

    iteration: int
    steps: int
    seconds: float
    episodes: int | None = None
    judged_from: int | None = None
    best_return: float | None = None
    no_better: int | None = None

    @property
    def kept(self) -> KeptCheckpoint:
        """The checkpoint of this iteration, as the index has it."""
        position = attrs.asdict(self) | {"seconds": round(self.seconds, 3)}
        return KeptCheckpoint(checkpoint_name(self.iteration), **position)


class CheckpointKeeper:
    """Keeps the last few checkpoints of a run and the best one, in its folder or, while that fails, in another.

    Args:
        run_dir: the run folder.
        config: of the run; its section ``checkpointing`` says when and how many.
        signals: a save is brought to its end before a signal counts.
        say: shows a line to people.
        describe: writes into a folder what the run folder says of the run as a whole.
    """

    def __init__(
        self,
        run_dir: Path,
        config: AlgorithmConfig,
        *,
        signals: Signals,
        say: Callable[[str], object],
        describe: Callable[[Path], object] = lambda folder: None,
    ) -> None:
        self._run_dir, self._signals, self._say, self._describe = run_dir, signals, say, describe
        self._keep, self._best = config.checkpoint_keep, config.checkpoint_best
        every = config.checkpoint_every
        self._every_s = float("inf") if every is None or isinstance(every, str) else every
        self._every_iterations = int(every.split()[0]) if isinstance(every, str) else None
        self._shelf = Shelf(run_dir, self._keep, thin_older=config.checkpoint_replay == "last")
        self._beside: Shelf | None = None
        self._identity = _identity(run_dir)
        self._said: set[str] = set()
        self._saved: Position | None = None
        self._is_lost = False

    @property
    def newest(self) -> Path | None:
        """The newest complete checkpoint, wherever it is; None before the first."""
        shelves = [shelf for shelf in (self._shelf, self._beside) if shelf is not None and shelf.newest is not None]
        return max(shelves, key=lambda shelf: shelf.index.checkpoints[-1].iteration).newest if shelves else None

    # -- beginning -------------------------------------------------------------------------------------------------

    def go_on_from(self, checkpoint: Path, iteration: int) -> None:
        """Take up the run folder's checkpoints, where it is ``checkpoint``'s own, from that of ``iteration`` on.

        Those of later iterations go, as these are trained anew.
        """
        run = run_of(checkpoint)
        if run is None or _identity(run) != self._identity:
            return
        known = next((one for one in self._shelf.index.checkpoints if one.iteration == iteration), None)
        if known is None:  # the best one, say, whose own checkpoint is long gone: it may go no more
            known = KeptCheckpoint(checkpoint_name(iteration), iteration)
            self._somewhere(lambda shelf: shelf.save(linked_from(checkpoint), known), "the checkpoint")
        self._shelf.tidy(up_to=iteration)
        self._saved = Position(iteration, known.steps or 0, known.seconds or 0.0)

    # -- while it goes on --------------------------------------------------------------------------------------------

    def iteration_ended(
        self,
        algorithm: Saves,
        position: Position,
        *,
        evaluation: float = math.nan,
        last: bool = False,
    ) -> None:
        """Save what is due.

        Args:
            algorithm: as it is at the end of the iteration.
            position: where it stands.
            evaluation: mean return of this iteration's evaluation; NaN if there was none.
            last: there is no further iteration.
        """
        self.look()
        if last or self._is_due(position):
            self.save(algorithm, position)
        self.evaluated(algorithm, position, evaluation)

    def evaluated(self, algorithm: Saves, position: Position, evaluation: float) -> None:
        """Keep the iteration that has just ended as the best, if it is."""
        if not self._best or not math.isfinite(evaluation) or not self._is_better(evaluation):
            return
        about = BestCheckpoint("best", position.iteration, position.steps, evaluation)
        newest, name = self.newest, checkpoint_name(position.iteration)
        is_saved = newest is not None and newest.as_posix().endswith(name)
        write: Write = linked_from(newest) if newest is not None and is_saved else algorithm.save_to_path
        self._somewhere(lambda shelf: shelf.save_best(write, about), "the best checkpoint")

    def look(self) -> None:
        """Notice, and say, that the run folder is gone; it is made again when something is saved."""
        if self._identity is not None and _identity(self._run_dir) != self._identity:
            self._identity = None
            self._warn(f"the run folder {self._run_dir} is gone; it is made again, and training goes on")
            try:
                self._run_dir.mkdir(parents=True, exist_ok=True)
                self._describe(self._run_dir)
            except OSError as error:
                self._warn(f"the run folder {self._run_dir} cannot be made again: {_reason(error)}")
            self._identity = _identity(self._run_dir)
            self._shelf.forget()
            self._is_lost = True

    def writable(self) -> Path:
        """The run folder, or :meth:`place` while that takes nothing."""
        return self._run_dir if self._beside is None else self._beside.folder

    def place(self) -> Path:
        """Where to write what the run folder does not take: a folder beside it that is made when it is asked for first.

        Raises:
            OSError: there is no place there either.
        """
        if self._beside is None:
            folder = Path(tempfile.mkdtemp(prefix=f"rlkit-{self._run_dir.resolve().name}-"))
            self._beside = Shelf(folder, keep=1)
            with suppress(OSError):
                self._describe(folder)
            self._warn(f"what {self._run_dir} does not take goes to {folder} until it does")
        return self._beside.folder

    # -- saving ------------------------------------------------------------------------------------------------------

    def _is_due(self, position: Position) -> bool:
        if self._is_lost:
            return True
        done = self._saved or Position(0, 0, 0.0)
        if self._every_iterations is not None:
            return position.iteration - done.iteration >= self._every_iterations
        return position.seconds - done.seconds >= self._every_s

    def _is_better(self, evaluation: float) -> bool:
        shelves = (self._shelf, self._beside)
        kept = [shelf.index.best.return_mean for shelf in shelves if shelf is not None and shelf.index.best is not None]
        return all(one is None or evaluation > one for one in kept)

    def save(self, algorithm: Saves, position: Position) -> None:
        """Save the iteration that has just ended, unless that was done."""
        if self._saved is not None and self._saved.iteration == position.iteration and not self._is_lost:
            return
        self._somewhere(lambda shelf: shelf.save(algorithm.save_to_path, position.kept), "the checkpoint")
        self._saved, self._is_lost = position, False  # also where it failed: it is tried again at the next turn

    def _somewhere(self, save: Callable[[Shelf], Path], what: str) -> Path | None:
        """Save in the run folder, or else beside it; None where both fail."""
        for shelf in self._shelves():
            try:
                with self._signals.held():
                    path = save(shelf)
            except (CheckpointError, OSError) as error:
                if not is_trouble_of_the_disk(error):
                    raise
                self._has_trouble(shelf, what, error)
                continue
            if shelf is self._shelf:
                self._is_well()
            return path
        self._warn(f"{what} is nowhere on disk yet; it is tried again at the next turn")
        return None

    def _shelves(self) -> Iterator[Shelf]:
        yield self._shelf
        try:
            self.place()
        except OSError as error:
            self._warn(f"there is no place beside it either: {_reason(error)}")
        if self._beside is not None:
            yield self._beside

    def _has_trouble(self, shelf: Shelf, what: str, error: Exception) -> None:
        text = f"{what} cannot be written into {shelf.folder}: {_reason(error)}"
        if text not in self._said:
            self._said.add(text)
            self._warn(text)

    def _is_well(self) -> None:
        """The run folder takes what it is given (again): what lies beside it moves there."""
        beside = self._beside
        if beside is None or (beside.newest is not None and self.newest == beside.newest):
            return  # the best one, say, fitted in, and the newest one did not
        best = beside.index.best
        if best is not None and self._best:
            try:
                self._shelf.save_best(linked_from(beside.folder / best.path), best)
            except (CheckpointError, OSError) as error:
                self._has_trouble(self._shelf, "the best checkpoint", error)
                return
        self._beside = None
        self._said.clear()
        shutil.rmtree(beside.folder, ignore_errors=True)
        self._warn(f"{self._run_dir} can be written again; nothing is left in {beside.folder}")

    def _warn(self, text: str) -> None:
        logger.warning("%s", text)
        self._say(text)


def is_trouble_of_the_disk(error: BaseException) -> bool:
    """Whether it is the place's fault and no mistake in what is saved: full, read-only, gone."""
    return isinstance(error, OSError) or isinstance(error.__cause__, OSError)


def _reason(error: BaseException) -> str:
    cause = error if isinstance(error, OSError) else error.__cause__
    return str(getattr(cause, "strerror", None) or error)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
