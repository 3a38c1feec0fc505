"""Result writers: CSV, JSON lines and TensorBoard. Each is a class with ``write(result)`` and ``close()``.

They are services of kind ``writer``, made as ``(run_dir, config, resume_at)``: the folder of the run, which exists; the
run's config, a frozen copy; the iteration that a resumed run goes on after, None in a new run. A plugin offers writers
of its own in ``rlkit_services()``; a run has those that ``reporting(writers=[...])`` names. Results cannot be changed
by them.

A run that was killed has logged more than its newest checkpoint knows. A writer whose class says ``cuts_back = True``
drops, when it is made with ``resume_at``, what it has of later iterations, so that each is there once; a run says which
of its writers do not.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from rlkit_core.algorithm.results import as_number, flatten_result
from rlkit_core.checkpoint.files import replace_file
from rlkit_core.checkpoint.locate import read_index
from rlkit_core.result_keys import NUM_ENV_STEPS_SAMPLED_LIFETIME, TRAINING_ITERATION
from rlkit_core.run.log_files import event_records
from rlkit_core.run.log_files.appended import AppendedFile

MOST_COLUMNS = 2000
"""Columns of ``progress.csv``."""


@runtime_checkable
class ResultWriter(Protocol):
    """What receives every result of a run."""

    def write(self, result: Mapping[str, Any]) -> None:
        """Take one result of ``train()``."""

    def close(self) -> None:
        """Finish; nothing is written after it."""


class _FileWriter:
    """Writes one text file of the run folder, which a resumed run goes on with."""

    name: ClassVar[str]
    cuts_back: ClassVar[bool] = True

    def __init__(
        self, run_dir: str | os.PathLike[str], config: object | None = None, resume_at: int | None = None
    ) -> None:
        self.path = Path(run_dir) / self.name
        if resume_at is not None and self.path.exists():
            self._cut_back(resume_at)
        self._file = AppendedFile(self.path)

    def _append(self, text: str) -> None:
        """Add to the file, which is begun anew if it is gone.

        Raises:
            OSError: nothing was added.
        """
        self._file.append(text.encode(), self._head)

    def _head(self) -> bytes:
        """What a file that is begun anew starts with."""
        return b""

    def _cut_back(self, iteration: int) -> None:
        """Leave out of the file what is of later iterations, and a line that was not finished."""
        with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
            text = file.read()
        kept = self._up_to(iteration, text)
        if kept != text:
            self._replace(kept)

    def _up_to(self, iteration: int, text: str) -> str:
        """Of the file's text what is of iterations up to this one."""
        raise NotImplementedError

    def _replace(self, text: str) -> None:
        """Put a file with this text in the place of the one that is there, at once."""
        replace_file(self.path, text.encode("utf-8"))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class CSVWriter(_FileWriter):
    """``progress.csv``: a row per iteration, a column per number of the result.

    Columns keep their place. A number that appears later gets a new column at the end, and the file is rewritten once,
    with empty cells above. A run that is resumed in the same folder goes on with the columns that are there. What would
    be a column beyond :data:`MOST_COLUMNS` (agents with new ids each time, say) is left out; ``results.jsonl`` has it.
    """

    name = "progress.csv"

    def __init__(
        self, run_dir: str | os.PathLike[str], config: object | None = None, resume_at: int | None = None
    ) -> None:
        super().__init__(run_dir, config, resume_at)
        with self.path.open(newline="", encoding="utf-8") as file:
            self._columns = next(csv.reader(file), [])

    def write(self, result: Mapping[str, Any]) -> None:
        """Add one row."""
        row = flatten_result(result)
        known = set(self._columns)
        new = [name for name in row if name not in known][: max(0, MOST_COLUMNS - len(known))]
        if new:
            self._widen([*self._columns, *new])
        self._append(_as_csv([[repr(row[name]) if name in row else "" for name in self._columns]]))

    def _widen(self, columns: list[str]) -> None:
        rows: list[list[str]] = []
        if self._file.is_there():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.reader(file))[1:]
        self._replace(_as_csv([columns, *([*row, *[""] * (len(columns) - len(row))] for row in rows)]))
        self._columns = columns
        self._file.open_again()

    def _head(self) -> bytes:
        return _as_csv([self._columns]).encode() if self._columns else b""

    def _up_to(self, iteration: int, text: str) -> str:
        text = text.replace("\0", "")  # as a power cut may leave
        names, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
        column = names.index(TRAINING_ITERATION) if TRAINING_ITERATION in names else len(names)
        whole = rows if text.endswith("\n") else rows[:-1]
        kept = [row for row in whole if column < len(row) == len(names) and _at_most(row[column], iteration)]
        return _as_csv([names, *kept] if names else [])


class JSONLWriter(_FileWriter):
    """``results.jsonl``: one JSON object per iteration, without the config. NaN and infinities become null."""

    name = "results.jsonl"

    def write(self, result: Mapping[str, Any]) -> None:
        """Add one line."""
        data = {key: to_json_value(value) for key, value in result.items() if key != "config"}
        self._append(json.dumps(data, allow_nan=False) + "\n")

    def _up_to(self, iteration: int, text: str) -> str:
        return "".join(line for line in text.splitlines(keepends=True) if _at_most(_iteration_of(line), iteration))


class TensorBoardWriter:
    """TensorBoard event files in ``tensorboard``: every finite number of the result, against env steps.

    A resumed run writes a file of its own, which tells TensorBoard to leave out the later points of earlier ones.
    """

    cuts_back: ClassVar[bool] = True

    def __init__(
        self, run_dir: str | os.PathLike[str], config: object | None = None, resume_at: int | None = None
    ) -> None:
        self._folder = Path(run_dir) / "tensorboard"
        self._resumed = resume_at is not None and self._folder.exists()
        self._steps = None if resume_at is None else steps_at(run_dir, resume_at)
        self._file: AppendedFile | None = None

    def write(self, result: Mapping[str, Any]) -> None:
        """Add one point to each curve."""
        flat = flatten_result(result)
        step = int(flat.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))
        points = event_records.scalars(step, ((name, value) for name, value in flat.items() if math.isfinite(value)))
        after = step if self._steps is None else min(step, self._steps + 1)
        head = functools.partial(event_records.beginning, after if self._resumed else None)
        if self._file is None or not self._file.is_there():
            self._folder.mkdir(exist_ok=True)
        if self._file is None:  # TensorBoard reads files in the order of their names
            name = f"events.out.tfevents.{time.time_ns() // 1000}.{socket.gethostname()}.{os.getpid()}"
            self._file = AppendedFile(self._folder / name)
        self._file.append(points, head)
        self._resumed = False

    def close(self) -> None:
        """Close the event file."""
        if self._file is not None:
            self._file.close()


def steps_at(run_dir: str | os.PathLike[str], iteration: int) -> int | None:
    """Env steps of a run up to an iteration, as its index or its logs have them; None where they do not."""
    for one in read_index(run_dir).checkpoints:
        if one.iteration == iteration and one.steps is not None:
            return one.steps
    for row in logged(run_dir):
        if _at_most(row.get(TRAINING_ITERATION), iteration) and not _at_most(row[TRAINING_ITERATION], iteration - 1):
            with suppress(ValueError, TypeError, OverflowError):
                return int(float(row[NUM_ENV_STEPS_SAMPLED_LIFETIME]))
    return None


def logged(run_dir: str | os.PathLike[str]) -> Iterator[Mapping[str, Any]]:
    """The rows of a run's ``results.jsonl`` or, where it has none, of its ``progress.csv``: all that can be read."""
    lines, rows = Path(run_dir) / JSONLWriter.name, Path(run_dir) / CSVWriter.name
    if lines.exists():
        with lines.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if isinstance(row := _parsed(line), dict):
                    yield row
    elif rows.exists():
        with rows.open(newline="", encoding="utf-8", errors="replace") as file:
            yield from csv.DictReader(line.replace("\0", "") for line in file)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _iteration_of(line: str) -> Any:
    """The iteration that a line of ``results.jsonl`` is of; None where the line is not whole."""
    data = _parsed(line) if line.endswith("\n") else None
    return data.get(TRAINING_ITERATION) if isinstance(data, dict) else None


def _at_most(value: object, iteration: int) -> bool:
    try:
        return float(value) <= iteration  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return False


def _as_csv(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


def to_json_value(value: object) -> Any:
    """``value`` as strict JSON: numbers that are not finite become null, unknown objects their text."""
    if value is None or isinstance(value, str | bool):
        return value
    number = as_number(value)
    if number is not None:
        return number if math.isfinite(number) else None
    if isinstance(value, Mapping):
        return {str(key): to_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json_value(item) for item in value]
    tolist = getattr(value, "tolist", None)
    return to_json_value(tolist()) if callable(tolist) else str(value)
