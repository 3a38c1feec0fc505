"""How real runs end: killed, told to, hanging, failing, with a full disk and with nobody who reads their output."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlkit_core.errors import ConfigError
from rlkit_core.run.lock import RunLock

Start = Callable[..., Any]
ENDLESS = ["--stop-steps", "100000000", "--stop-return", "1e9"]


def index(folder: Path) -> Any:
    return json.loads((folder / "index.json").read_text())


def test_a_run_that_is_killed_leaves_its_newest_complete_checkpoint(start: Start) -> None:
    run = start(*ENDLESS, "--set", "checkpoint_every='1 iterations'")
    run.until(lambda: len(run.iterations) >= 5)
    run.kill(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    _, iteration = run.newest()
    assert iteration in (run.iterations[-1] - 1, run.iterations[-1])
    assert (run.folder / "run.lock").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_run_with_a_checkpoint(start: Start, number: signal.Signals) -> None:
    run = start(*ENDLESS)
    run.until(lambda: len(run.iterations) >= 2)
    run.kill(number)
    assert run.wait() == 128 + number, run.said
    assert run.newest()[1] == run.iterations[-1] == json.loads((run.folder / "summary.json").read_text())["iterations"]
    assert f"interrupted by {number.name}" in run.said
    assert "stopping after this iteration, in 20 s at the latest" in run.said
    assert not (run.folder / "run.lock").exists()
    assert run.checkpoints == [f"{run.iterations[-1]:06d}"]  # a short run saves once


def test_a_second_signal_ends_it_at_once_even_if_a_runner_hangs(start: Start, tmp_path: Path) -> None:
    mark = tmp_path / "hangs"
    run = start(*ENDLESS, "--set", "checkpoint_every='1 iterations'", env="Hanging-v0", faults=[("hanging", str(mark))])
    run.until(mark.exists)
    run.kill(signal.SIGTERM)
    run.until(lambda: "stopping after this iteration" in run.said)
    run.kill(signal.SIGTERM)
    assert run.wait() == 128 + signal.SIGTERM
    path, iteration = run.newest()
    assert iteration == run.iterations[-1] >= 1
    assert f"the newest checkpoint is {path}" in run.said
    assert f"rlkit resume {run.folder}" in run.said
    assert "Traceback" not in run.said


def test_a_runner_that_hangs_has_so_many_seconds_after_a_signal(start: Start, tmp_path: Path) -> None:
    mark = tmp_path / "hangs"
    run = start(
        *ENDLESS,
        "--set", "checkpoint_every='1 iterations'",
        env="Hanging-v0", faults=[("hanging", str(mark)), ("grace", 0.5)],
    )  # fmt: skip
    run.until(mark.exists)
    run.kill(signal.SIGHUP)
    assert run.wait() == 128 + signal.SIGHUP
    assert run.newest()[1] == run.iterations[-1] >= 1


def test_a_signal_during_a_save_lets_that_end(start: Start, tmp_path: Path) -> None:
    mark = tmp_path / "saving"
    run = start(*ENDLESS, "--set", "checkpoint_every='3 iterations'", faults=[("slow_save", str(mark))])
    run.until(mark.exists)
    run.kill(signal.SIGTERM)
    time.sleep(0.1)
    run.kill(signal.SIGTERM)
    assert run.wait() == 128 + signal.SIGTERM
    assert run.newest()[1] == 3
    assert run.checkpoints == ["000003"]


def test_an_error_in_training_leaves_checkpoint_and_weights_and_says_so(start: Start) -> None:
    run = start(*ENDLESS, "--set", "checkpoint_every='2 iterations'", faults=[("failing", 5)])
    assert run.wait() == 1
    path, iteration = run.newest()
    assert (iteration, run.iterations) == (4, [1, 2, 3, 4, 5])
    said = run.said
    assert "ZeroDivisionError: in training" in said
    assert f"the weights it ended with are in {run.folder / 'crash'}" in said
    assert f"the newest checkpoint is {path}; go on from it: rlkit resume {run.folder}" in said
    from rlkit_core import RLModule

    module = RLModule.from_checkpoint(run.folder / "crash" / "default_policy")
    assert module.compute_actions is not None


def test_an_error_in_a_save_is_no_matter_of_the_disk_and_leaves_the_last_one(start: Start) -> None:
    run = start(*ENDLESS, "--set", "checkpoint_every='2 iterations'", faults=[("unsavable", 4)])
    assert run.wait() == 1
    path, iteration = run.newest()
    assert (iteration, run.checkpoints, run.iterations) == (2, ["000002"], [1, 2, 3, 4])
    assert "LookupError: no state" in run.said
    assert f"the newest checkpoint is {path}" in run.said
    assert "is tried again" not in run.said


def test_weights_that_are_no_numbers_are_said_and_not_written(start: Start) -> None:
    run = start(*ENDLESS, "--set", "checkpoint_every='2 iterations'", faults=[("poisoned", 5)])
    assert run.wait() == 2
    path, iteration = run.newest()
    said = run.said
    assert iteration == 4
    assert "those of 'default_policy' are not finite and were not written" in said
    assert f"the newest checkpoint is {path}; go on from it: rlkit resume {run.folder}" in said
    assert "Traceback" not in said
    assert not (run.folder / "crash").exists()


def test_a_full_disk_is_said_at_once_and_loses_nothing(start: Start, tmp_path: Path) -> None:
    switch, folder = tmp_path / "full", tmp_path / "run" / "checkpoints"
    switch.touch()
    run = start(
        *ENDLESS,
        "--set", "checkpoint_every='5 iterations'",
        faults=[("full", [str(folder), str(switch)]), ("paused", None)],
    )  # fmt: skip
    run.until(lambda: "until it does" in run.said)
    assert f"the checkpoint cannot be written into {run.folder}: No space left on device" in run.said
    beside = Path(run.said.partition("does not take goes to ")[2].partition(" until")[0])
    assert beside.name.startswith("rlkit-run-")
    run.until(lambda: (beside / "index.json").exists())
    assert len(index(beside)["checkpoints"]) == 1
    switch.unlink()
    run.until(lambda: "can be written again" in run.said)
    assert not beside.exists()
    run.kill(signal.SIGTERM)
    run.wait()
    assert run.newest()[1] == run.iterations[-1]
    assert run.iterations == list(range(1, run.iterations[-1] + 1))


def test_a_disk_that_stays_full_leaves_all_in_the_place_that_the_summary_names(start: Start, tmp_path: Path) -> None:
    switch, folder = tmp_path / "full", tmp_path / "run" / "checkpoints"
    switch.touch()
    run = start("--stop-iters", "3", faults=[("full", [str(folder), str(switch)])])
    assert run.wait() == 0, run.said
    newest = Path(json.loads((run.folder / "summary.json").read_text())["checkpoint"])
    assert newest.parent.parent.name.startswith("rlkit-run-")
    assert (newest.parent.parent / "config.json").exists()
    assert f"checkpoint  {newest}" in run.said
    assert json.loads((newest / "algorithm_state.json").read_text())["iteration"] == 3


def test_a_run_folder_that_is_deleted_is_made_again(start: Start) -> None:
    run = start(*ENDLESS, faults=[("paused", None)])
    run.until(lambda: len(run.iterations) >= 3)
    moved = run.folder.rename(run.folder.with_name("elsewhere"))
    run.until(lambda: f"the run folder {run.folder} is gone" in run.said)
    run.until(lambda: "the result writer 'jsonl' of rlkit-core has written all that had to wait" in run.said)
    with pytest.raises(ConfigError, match=f"in use by process {run.pid}"):
        RunLock(run.folder, print).take()
    run.kill(signal.SIGTERM)
    assert run.wait() == 128 + signal.SIGTERM
    first = [json.loads(line)["training_iteration"] for line in (moved / "results.jsonl").read_text().splitlines()]
    assert [*first, *run.iterations] == list(range(1, run.iterations[-1] + 1))
    assert (run.folder / "config.json").exists()
    assert run.newest()[1] == run.iterations[-1]


def test_output_that_goes_nowhere_never_ends_training(start: Start, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    run = start("--stop-iters", "30", stdout=str(pipe), faults=[("paused", None)])
    with pipe.open() as reader:  # as `| head -1`
        assert reader.readline().startswith("settings:")
    assert run.wait() == 0
    assert run.iterations == list(range(1, 31))
    assert run.newest()[1] == 30
    assert "Traceback" not in run.said
    assert "standard output cannot be written (Broken pipe)" in run.said


@pytest.mark.parametrize("streams", [{"stdout": "/dev/full"}, {"stdout": "/dev/full", "stderr": "/dev/full"},
                                     {"stdout": None, "stderr": None}])  # fmt: skip
def test_output_that_is_full_or_closed_never_ends_training(start: Start, streams: Any) -> None:
    run = start("--stop-iters", "3", **streams)
    assert run.wait() == 0
    assert run.newest()[1] == 3
    assert json.loads((run.folder / "summary.json").read_text())["reason"] == "limit"


def test_a_second_process_is_refused_until_the_first_is_dead(start: Start) -> None:
    run = start(*ENDLESS, "--set", "checkpoint_every='1 iterations'")
    run.until(lambda: run.exists_after(1))
    resumed = start(line=["resume", str(run.folder), "--quiet"])
    assert resumed.wait() == 2
    assert f"the run folder {run.folder} is in use by process {run.pid}" in resumed.said
    assert "Traceback" not in resumed.said
    said: list[str] = []
    second = RunLock(run.folder, said.append)
    with pytest.raises(ConfigError, match=rf"{run.folder} is in use by process {run.pid} on \S+; let that end first"):
        second.take()
    run.kill(signal.SIGKILL)
    run.wait()
    second.take()  # the file is still there
    again = RunLock(run.folder, said.append)
    with pytest.raises(ConfigError, match=f"process {os.getpid()} on"):
        again.take()
    second.release()
    again.take()
    again.release()
    assert not said
    assert not (run.folder / "run.lock").exists()


def test_a_terminal_that_is_closed_ends_a_run_with_a_checkpoint(start: Start) -> None:
    terminal, inner = os.openpty()
    run = start(*ENDLESS, stdout=os.ttyname(inner))  # which is its terminal then: it leads a session
    os.close(inner)
    run.until(lambda: len(run.iterations) >= 2 and os.read(terminal, 10_000))
    os.close(terminal)
    assert run.wait() == 128 + signal.SIGHUP, run.said
    assert run.newest()[1] == run.iterations[-1]
    assert "Traceback" not in run.said


def test_results_wait_for_a_full_disk_and_go_elsewhere_in_the_end(start: Start) -> None:
    run = start("--stop-iters", "12", faults=[("limited", 6000)])
    assert run.wait() == 0, run.said
    said = run.said
    assert "the result writer 'jsonl' of rlkit-core cannot write (File too large); results wait in memory" in said
    elsewhere = Path(said.partition("the result writer 'jsonl' of rlkit-core wrote the last ")[2].split()[3])
    assert elsewhere.name.startswith("rlkit-run-")
    rest = [json.loads(line)["training_iteration"] for line in (elsewhere / "results.jsonl").read_text().splitlines()]
    assert [*run.iterations, *rest] == list(range(1, 13))
    assert run.iterations
    assert rest
