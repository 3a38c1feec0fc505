"""Result writers: CSV, JSON lines and TensorBoard. Each is a class with ``write(result)`` and ``close()``.

They are services of kind ``writer``, made as ``(run_dir, config, resume_at)``: the folder of the run, which exists; the
run's config, a frozen copy; the iteration that a resumed run goes on after. A plugin offers writers of its own in
``rlkit_services()``; a run has those that ``reporting(writers=[...])`` names. Results cannot be changed by them.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, ClassVar, Protocol, runtime_checkable

from rlkit_core.algorithm.results import NUM_ENV_STEPS_SAMPLED_LIFETIME, as_number, flatten_result

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

    def __init__(
        self, run_dir: str | os.PathLike[str], config: object | None = None, resume_at: int | None = None
    ) -> None:
        self.path = Path(run_dir) / self.name
        self._file = self._open("a")

    def _open(self, mode: str) -> IO[str]:
        return self.path.open(mode, newline="", encoding="utf-8")

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
        super().__init__(run_dir)
        with self._open("r") as file:
            self._columns = next(csv.reader(file), [])

    def write(self, result: Mapping[str, Any]) -> None:
        """Add one row."""
        row = flatten_result(result)
        known = set(self._columns)
        new = [name for name in row if name not in known][: max(0, MOST_COLUMNS - len(known))]
        if new:
            self._widen([*self._columns, *new])
        csv.writer(self._file).writerow([repr(row[name]) if name in row else "" for name in self._columns])
        self._file.flush()

    def _widen(self, columns: list[str]) -> None:
        self._file.close()
        with self._open("r") as file:
            rows = list(csv.reader(file))[1:]
        beside = self.path.with_name(self.path.name + ".new")
        with beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([*row, *[""] * (len(columns) - len(row))] for row in rows)
        beside.replace(self.path)
        self._columns = columns
        self._file = self._open("a")


class JSONLWriter(_FileWriter):
    """``results.jsonl``: one JSON object per iteration, without the config. NaN and infinities become null."""

    name = "results.jsonl"

    def write(self, result: Mapping[str, Any]) -> None:
        """Add one line."""
        data = {key: to_json_value(value) for key, value in result.items() if key != "config"}
        self._file.write(json.dumps(data, allow_nan=False) + "\n")
        self._file.flush()


class TensorBoardWriter:
    """TensorBoard event files in ``tensorboard``: every finite number of the result, against env steps.

    Raises:
        ImportError: tensorboard is not installed.
    """

    def __init__(
        self, run_dir: str | os.PathLike[str], config: object | None = None, resume_at: int | None = None
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(Path(run_dir) / "tensorboard"))

    def write(self, result: Mapping[str, Any]) -> None:
        """Add one point to each curve."""
        flat = flatten_result(result)
        step = int(flat.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))
        for name, value in flat.items():
            if math.isfinite(value):
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


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
