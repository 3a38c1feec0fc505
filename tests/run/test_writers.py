"""What writers do with a log that reaches beyond the checkpoint a run goes on from."""

from __future__ import annotations

import csv
import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit_core.run.log_files import event_records
from rlkit_core.run.writers import CSVWriter, JSONLWriter, TensorBoardWriter, logged, steps_at

WRITERS = (CSVWriter, JSONLWriter, TensorBoardWriter)


def result(iteration: int, **more: Any) -> dict[str, Any]:
    return {
        "training_iteration": iteration,
        "num_env_steps_sampled_lifetime": 10 * iteration,
        "return": 0.5 * iteration,
        **more,
    }


def write(folder: Path, iterations: range, resume_at: int | None = None, **more: Any) -> None:
    """A run (or the part of one) that was killed: nothing is closed."""
    writers = [made(folder, None, resume_at) for made in WRITERS]
    for iteration in iterations:
        for writer in writers:
            writer.write(result(iteration, **more))


def iterations(folder: Path) -> tuple[list[int], list[int]]:
    with (folder / "progress.csv").open(newline="") as file:
        table = [int(row["training_iteration"]) for row in csv.DictReader(file)]
    return table, [json.loads(line)["training_iteration"] for line in (folder / "results.jsonl").open()]


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_each_iteration_is_there_once_after_runs_that_were_killed(tmp_path: Path) -> None:
    write(tmp_path, range(1, 9))
    write(tmp_path, range(6, 12), 5, lr=1.0)  # the newest checkpoint was of iteration 5, and a column came
    write(tmp_path, range(10, 13), 9)
    whole = list(range(1, 13))
    assert iterations(tmp_path) == (whole, whole)
    assert curve(tmp_path, "return") == [(10 * i, 0.5 * i) for i in whole]
    assert [step for step, _ in curve(tmp_path, "lr")] == [60, 70, 80, 90]
    rows = list(csv.DictReader((tmp_path / "progress.csv").open(newline="")))
    assert [row["lr"] for row in rows] == [""] * 5 + ["1.0"] * 4 + [""] * 3
    assert not list(tmp_path.glob("*.new"))


def test_points_at_other_steps_are_left_out_too(tmp_path: Path) -> None:
    """Iterations of the part that was lost may have been shorter."""
    write(tmp_path, range(1, 9))
    index = {"format": 1, "checkpoints": [{"path": "checkpoints/000005", "iteration": 5, "steps": 50}], "best": None}
    (tmp_path / "index.json").write_text(json.dumps(index))
    (tmp_path / "checkpoints" / "000005").mkdir(parents=True)
    assert steps_at(tmp_path, 5) == 50
    writer = TensorBoardWriter(tmp_path, None, 5)
    writer.write({**result(6), "num_env_steps_sampled_lifetime": 75})
    assert [step for step, _ in curve(tmp_path, "return")] == [10, 20, 30, 40, 50, 75]


@pytest.mark.parametrize(
    "tail", [b"7,70,3", b"\0\0\0\0", b'{"training_iteration": 7', b"\xff\xfe", b"not,a,row,at,all\n"]
)
def test_a_line_that_was_not_finished_goes(tmp_path: Path, tail: bytes) -> None:
    write(tmp_path, range(1, 7))
    for name in ("progress.csv", "results.jsonl"):
        with (tmp_path / name).open("ab") as file:
            file.write(tail)
    assert sum(row.get("training_iteration") in (6, "6") for row in logged(tmp_path)) == 1
    write(tmp_path, range(7, 9), 6)
    assert iterations(tmp_path) == (list(range(1, 9)),) * 2


@pytest.mark.parametrize("content", ["", "\r\n", "a,b\r\n1,2\r\n", "training_iteration\r\n"])
def test_a_table_without_iterations_begins_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "progress.csv").write_text(content, newline="")
    writer = CSVWriter(tmp_path, None, 3)
    writer.write(result(4))
    writer.close()
    rows = list(csv.DictReader((tmp_path / "progress.csv").open(newline="")))
    assert [row["training_iteration"] for row in rows] == ["4"]


def test_nothing_is_rewritten_where_there_is_nothing_to_cut(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4))
    before = {name: (tmp_path / name).stat().st_ino for name in ("progress.csv", "results.jsonl")}
    write(tmp_path, range(4, 5), 3)
    assert {name: (tmp_path / name).stat().st_ino for name in before} == before
    assert iterations(tmp_path) == ([1, 2, 3, 4],) * 2
    assert steps_at(tmp_path, 2) == 20
    assert steps_at(tmp_path, 9) is None
    (tmp_path / "results.jsonl").unlink()
    assert steps_at(tmp_path, 2) == 20


def failing_write(patch: pytest.MonkeyPatch, takes: int) -> None:
    """Let the disk take so many bytes more, half of a line perhaps, and then none."""
    left, original = [takes], os.write

    def write(descriptor: int, data: bytes) -> int:
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = original(descriptor, data[: left[0]])
        left[0] -= written
        return written

    patch.setattr(os, "write", write)


@pytest.mark.parametrize("made", [CSVWriter, JSONLWriter])
def test_a_full_disk_leaves_whole_rows_and_the_next_try_adds_the_row(
    tmp_path: Path, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = made(tmp_path)
    writer.write(result(1))
    before = writer.path.read_bytes()
    for takes in (0, 5):
        with monkeypatch.context() as patch:
            failing_write(patch, takes)
            with pytest.raises(OSError, match="No space left"):
                writer.write(result(2))
        assert writer.path.read_bytes() == before
    with monkeypatch.context() as patch:
        failing_write(patch, 5)
        patch.setattr(os, "ftruncate", lambda *args: failing_write(patch, 0) or os.write(-1, b"x"))
        with pytest.raises(OSError, match="No space left"):
            writer.write(result(2))
    assert len(writer.path.read_bytes()) == len(before) + 5  # the half that could not be taken back
    writer.write(result(2))
    writer.write(result(3))
    text = writer.path.read_text()
    assert [line.count("training_iteration") for line in text.splitlines()] in ([1, 1, 1], [1, 0, 0, 0])
    assert len(text.splitlines()) == 3 + (made is CSVWriter)


def test_a_full_disk_leaves_whole_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = TensorBoardWriter(tmp_path)
    for takes in (0, 5, 60):  # nothing, a part of what a file begins with, that and a part of the points
        with monkeypatch.context() as patch:
            failing_write(patch, takes)
            with pytest.raises(OSError, match="No space left"):
                writer.write(result(1))
    writer.write(result(1))
    with monkeypatch.context() as patch:
        failing_write(patch, 40)
        with pytest.raises(OSError, match="No space left"):
            writer.write(result(2))
    writer.write(result(2))
    assert curve(tmp_path, "return") == [(10, 0.5), (20, 1.0)]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_events_are_those_that_tensorboard_would_write(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [("loss", -1.5), ("größe/a b", 3.0), ("much", 1e300), ("count", 7)]
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(event_records.beginning(2**40) + event_records.scalars(2**33 + 5, values))
    first, purge, points = map(Event.FromString, RawEventFileLoader(str(path)).Load())
    assert first.file_version == "brain.Event:2"
    assert purge == Event(
        wall_time=purge.wall_time, step=2**40, session_log=SessionLog(status=SessionLog.SessionStatus.START)
    )
    largest = float(np.finfo(np.float32).max)
    expected = [Summary.Value(tag=tag, simple_value=min(value, largest)) for tag, value in values]
    assert points == Event(wall_time=points.wall_time, step=2**33 + 5, summary=Summary(value=expected))
    assert abs(points.wall_time - time.time()) < 60


def test_a_log_that_is_gone_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    writers = [made(tmp_path / "run") for made in WRITERS]
    for writer in writers:
        writer.write(result(1))
    (tmp_path / "run").rename(tmp_path / "gone")
    for writer in writers:
        with pytest.raises(FileNotFoundError):
            writer.write(result(2))
    (tmp_path / "run").mkdir()
    for iteration in (2, 3):
        for writer in writers:
            writer.write(result(iteration, more=1.0))
    assert iterations(tmp_path / "run") == ([2, 3], [2, 3])
    assert iterations(tmp_path / "gone") == ([1], [1])
    assert curve(tmp_path / "run", "return") == [(20, 1.0), (30, 1.5)]
    assert curve(tmp_path / "gone", "return") == [(10, 0.5)]
