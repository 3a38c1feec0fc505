"""Where the checkpoints of a run are: its folder's layout, its index, and which one ``last`` and ``best`` mean.

A run folder has ``checkpoints/000123/`` (by iteration), ``best/``, ``crash/`` and ``index.json``. The folders are the
truth. The index says more of each; where it is missing, damaged or names what is gone, it is made good from them.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from attrs import frozen

from rlkit_core.checkpoint import files
from rlkit_core.checkpoint.saved_component import (
    SavedComponent,
    check_snapshot,
    directory_name,
    read_metadata,
    read_snapshot,
    split_component,
)
from rlkit_core.errors import CheckpointError, CheckpointNotFoundError

Which = Literal["last", "best"]
Found = TypeVar("Found")

CHECKPOINTS, BEST, CRASH, INDEX = "checkpoints", "best", "crash", "index.json"
INDEX_FORMAT = 1
_SIGNS = (INDEX, CHECKPOINTS, BEST, CRASH, "config.json", "run.lock")
"""What a directory without a checkpoint's metadata has one of when it is a run's."""
_ROUNDS = 3
"""How often a run whose checkpoints are rotated meanwhile is looked at."""


# -- the index -------------------------------------------------------------------------------------------------------


_MAY_BE_ABSENT = ("judged_from", "best_return", "no_better")


@frozen
class KeptCheckpoint:
    """A checkpoint of a run; None where the index does not say.

    Attributes:
        path: relative to the run folder.
        steps: env steps over the life of the run, and so are ``seconds`` of training and ``episodes``.
        judged_from: the iteration from which the mean return of training may call for an evaluation again.
        best_return: mean return of the best evaluation until then; ``no_better`` evaluations came after it.
    """

    path: str
    iteration: int
    steps: int | None = None
    seconds: float | None = None
    episodes: int | None = None
    judged_from: int | None = None
    best_return: float | None = None
    no_better: int | None = None


@frozen
class BestCheckpoint:
    """The checkpoint of the best evaluation; None where the index does not say.

    Attributes:
        path: relative to the run folder.
        return_mean: mean return of the evaluation.
    """

    path: str
    iteration: int | None = None
    steps: int | None = None
    return_mean: float | None = None


@frozen
class RunIndex:
    """What a run folder has: checkpoints, oldest first, and the best one."""

    checkpoints: tuple[KeptCheckpoint, ...] = ()
    best: BestCheckpoint | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values, as ``index.json`` holds them."""
        rows = [
            {
                "path": one.path,
                "iteration": one.iteration,
                "steps": one.steps,
                "seconds": one.seconds,
                "episodes": one.episodes,
                **{name: getattr(one, name) for name in _MAY_BE_ABSENT if getattr(one, name) is not None},
            }
            for one in self.checkpoints
        ]
        best = self.best and {
            "path": self.best.path,
            "iteration": self.best.iteration,
            "steps": self.best.steps,
            "return": self.best.return_mean,
        }
        return {"format": INDEX_FORMAT, "checkpoints": rows, "best": best}


def checkpoint_name(iteration: int) -> str:
    """``"checkpoints/000123"``: where in a run folder the checkpoint of an iteration lies."""
    return f"{CHECKPOINTS}/{iteration:06d}"


def read_index(run: str | os.PathLike[str]) -> RunIndex:
    """What the folders of a run hold, complete or damaged, with what its index says of them."""
    run = files.absolute(run)
    rows, best = _stored_index(run)
    known = {row.get("path"): row for row in rows}
    kept = []
    for iteration, path in sorted(_iterations(run).items()):
        name = path.relative_to(run).as_posix()
        row = known.get(name, {})
        steps, episodes, judged_from = (_count(row.get(key)) for key in ("steps", "episodes", "judged_from"))
        seconds, best_return = _number(row.get("seconds")), _number(row.get("best_return"))
        of_run = steps, seconds, episodes, judged_from, best_return, _count(row.get("no_better"))
        kept.append(KeptCheckpoint(name, iteration, *of_run))
    there = (run / BEST).is_dir() or (run / f"{BEST}.old").is_dir()
    found = None
    if there:
        best = best if best.get("path") == BEST else {}
        figures = _count(best.get("iteration")), _count(best.get("steps")), _number(best.get("return"))
        found = BestCheckpoint(BEST, *figures)
    return RunIndex(tuple(kept), found)


def _stored_index(run: Path) -> tuple[list[Mapping[str, Any]], Mapping[str, Any]]:
    try:
        data = json.loads(files.read_bytes(run / INDEX, files.METADATA_LIMIT))
    except (CheckpointError, ValueError, RecursionError):
        return [], {}
    if not isinstance(data, dict) or data.get("format") != INDEX_FORMAT:
        return [], {}
    rows, best = data.get("checkpoints"), data.get("best")
    listed: list[Mapping[str, Any]] = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return listed, best if isinstance(best, dict) else {}


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _iterations(run: Path) -> dict[int, Path]:
    """The checkpoint folders of a run by iteration; that of an interrupted save by the name it was to have."""
    found: dict[int, Path] = {}
    try:
        names = sorted(entry.name for entry in os.scandir(run / CHECKPOINTS) if entry.is_dir())
    except OSError:
        return found
    for name in names:
        stem = name.removesuffix(".old")
        if stem.isascii() and stem.isdigit() and len(stem) >= len("000123"):
            found[int(stem)] = run / CHECKPOINTS / stem
    return found


# -- finding ---------------------------------------------------------------------------------------------------------


def is_run(path: str | os.PathLike[str]) -> bool:
    """Tell whether a directory is a run's folder (and no checkpoint)."""
    path = files.absolute(path)
    return path.is_dir() and not (path / files.METADATA_FILE).exists() and any((path / s).exists() for s in _SIGNS)


def run_of(checkpoint: str | os.PathLike[str]) -> Path | None:
    """The run folder that a whole checkpoint lies in, or None."""
    path = files.absolute(checkpoint)
    outer = path.parent.parent if path.parent.name == CHECKPOINTS else path.parent
    inside = path.parent.name == CHECKPOINTS or path.name in (BEST, CRASH, "checkpoint")
    return outer if inside and is_run(outer) else None


def locate(path: str | os.PathLike[str], which: Which = "last") -> Path:
    """The directory of the checkpoint that ``path`` means.

    Args:
        path: a checkpoint, a part of one, or a run folder, of which the newest complete checkpoint is taken: every file
            of it is checked, and damaged ones are passed over with a warning that names them. ``crash/`` is never taken
            unless it is the path.
        which: of a run folder, ``"last"`` or ``"best"``.

    Raises:
        CheckpointNotFoundError: nothing is there; the message says what is.
        CheckpointError: all that is there is damaged, or ``which`` is unknown or asked of a single checkpoint.
    """

    def check(candidate: Path) -> Path:
        directory, _ = files.locate(candidate)
        check_snapshot(directory)
        return directory

    run = _run_at(path, which)
    return files.locate(path)[0] if run is None else _first_complete(run, which, check)


def read_located(path: str | os.PathLike[str], which: Which = "last") -> tuple[SavedComponent, Path]:
    """Read the checkpoint that :func:`locate` finds, checking each file once; and where it was read from.

    Raises:
        CheckpointError: as :func:`locate` and ``read_snapshot``.
    """
    run = _run_at(path, which)
    return read_snapshot(path) if run is None else _first_complete(run, which, read_snapshot)


def locate_part(path: str | os.PathLike[str], component: str, which: Which = "last") -> Path:
    """The part ``"a/b/c"`` inside of what :func:`locate` finds; what it finds itself where that has no such part."""
    directory = locate(path, which)
    inside, rest = directory, component
    try:
        while rest:
            listed = read_metadata(inside)["components"]
            name, rest = split_component(rest, dict.fromkeys(name for name in listed if isinstance(name, str)))
            inside = inside / directory_name(name)
    except CheckpointError:
        return directory
    return inside


def part_of_kind(kind: str, lies_in: Sequence[str], snapshot: SavedComponent, directory: Path) -> SavedComponent | None:
    """The part of a snapshot in which an object of a kind lies; None where it has no such part.

    Args:
        kind: the name of its class, for messages.
        lies_in: the components that it lies in, from an algorithm's on; ``"*"`` stands for the only one that is there.
        snapshot: of an algorithm, or of something on the way from there to what is looked for.
        directory: where it was read from.

    Raises:
        CheckpointError: several components may be meant; the message has their paths.
    """
    for start, first in enumerate(lies_in):
        found: SavedComponent | None = snapshot if first != "*" else None
        where = directory
        for place in lies_in[start:]:
            if found is None:
                break
            names = list(found.components)
            if place == "*" and len(names) > 1:
                paths = "\n".join(f"  {where / directory_name(name)}" for name in names)
                raise CheckpointError(f"{directory} has several components for one {kind}; name one of them:\n{paths}")
            name = next(iter(names), "") if place == "*" else place
            found, where = found.components.get(name), where / directory_name(name)
        if found is not None:
            return found
    return None


def _run_at(path: str | os.PathLike[str], which: str) -> Path | None:
    """The run folder that a path means (its ``checkpoints/`` is as good); None where it is no run's."""
    if which not in get_args(Which):
        raise CheckpointError(f"which={which!r}: expected 'last' or 'best'")
    path = files.absolute(path)
    for run in (path, path.parent) if path.name == CHECKPOINTS else (path,):
        if is_run(run):
            return run
    if which != "last":
        directory, _ = files.locate(path)
        raise CheckpointError(f"{directory} is one checkpoint: {which!r} is asked of a run folder")
    return None


def _first_complete(run: Path, which: Which, read: Callable[[Path], Found]) -> Found:
    for turn in range(_ROUNDS):
        candidates = list(_candidates(run, which))
        failed: dict[Path, CheckpointError] = {}
        for candidate in candidates:
            try:
                found = read(candidate)
            except CheckpointError as error:
                failed[candidate] = error
                continue
            for damaged, why in failed.items():
                warnings.warn(f"{damaged} is passed over: {why}", UserWarning, stacklevel=4)
            return found
        if turn == _ROUNDS - 1 or candidates == list(_candidates(run, which)):
            break  # else the run goes on, and they were rotated away
    if not failed:
        raise CheckpointNotFoundError(_nothing(run, which))
    told = "\n".join(f"  {damaged.relative_to(run)}: {error}" for damaged, error in failed.items())
    raise CheckpointError(f"{run} has no checkpoint that can be loaded:\n{told}")


def _candidates(run: Path, which: Which) -> Iterator[Path]:
    if which == "best":
        if (run / BEST).is_dir() or (run / f"{BEST}.old").is_dir():
            yield run / BEST
        return
    yield from (path for _, path in sorted(_iterations(run).items(), reverse=True))
    single = run / "checkpoint"
    if single.is_dir() or single.with_name("checkpoint.old").is_dir():
        yield single


def _nothing(run: Path, which: Which) -> str:
    last = next(_candidates(run, "last"), None)
    if which == "best" and last is not None:
        return f"{run} has no best checkpoint: it was not evaluated while it went on; its newest one is {last}"
    text = f"{run} has no checkpoint: the run ended before its first one"
    if files.is_checkpoint(run / CRASH):
        text += f"; {run / CRASH} has the weights it crashed with, and is taken where it is named itself"
    return text


def quoted(path: str | os.PathLike[str]) -> str:
    """A path as a shell wants it, for commands that messages advise."""
    return shlex.quote(os.fspath(path))
