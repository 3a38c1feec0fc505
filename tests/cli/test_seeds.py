"""``rlkit train --seeds``: real processes, one of which may fail; all end by a signal, and go on from their folder."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import click
import pytest
from click.testing import CliRunner

from rlkit_core.cli.app import cli
from rlkit_core.cli.seeds.command import words_of
from rlkit_core.cli.seeds.table import interval, lines, reached
from rlkit_core.run.lock import RunLock

SMALL = [
    "--no-preset", "--no-plot", "--evaluate", "2", "--set", "train_batch_size=64", "--set", "minibatch_size=32",
    "--set", "num_epochs=1", "--set", "num_envs_per_env_runner=4", "--set", "model_config.fcnet_hiddens=[8]",
    "--set", "writers=['csv']",
]  # fmt: skip
HELPERS = str(Path(__file__).parents[1] / "helpers")
ODD = """
import sys
from gymnasium.envs.classic_control import CartPoleEnv

class Odd(CartPoleEnv):
    def step(self, action):
        if sys.argv[sys.argv.index("--seed") + 1] == "2":
            raise RuntimeError("the pole is glued")
        return super().step(action)
"""


def rlkit(folder: Path, *args: object) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": HELPERS, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "rlkit_core", *map(str, args)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=env, stdout=pipe, stderr=pipe, text=True)


def table(out: str) -> dict[int, list[str]]:
    rows = [line.split() for line in out.splitlines()]
    return {int(row[0]): row[1:] for row in rows if len(row) > 4 and row[0].isdigit() and row[-1].startswith("many/")}


@pytest.mark.slow
def test_one_that_fails_ends_no_other(tmp_path: Path) -> None:
    (tmp_path / "odd_pole.py").write_text(ODD)
    asked = ("train", "ac", "./odd_pole.py:Odd", "--seeds", 3, "--jobs", 2, "--run-dir", "many", "--stop-iters", 2)
    with rlkit(tmp_path, *asked, *SMALL) as process:
        out, err = process.communicate(timeout=280)
    assert process.returncode == 1, err
    assert "seed 2 failed: Error: " in out
    assert "the pole is glued" in out
    rows = table(out)
    assert [rows[seed][0] for seed in (1, 2, 3)] == ["limit", "failed", "limit"]
    summaries = [json.loads((tmp_path / rows[seed][-1] / "summary.json").read_text()) for seed in (1, 3)]
    mean, low, high = interval([summary["evaluation_return_mean"] for summary in summaries])
    assert f"mean return over 2 of 3 seeds: {mean:.1f}, 95 % interval {low:.1f} to {high:.1f}" in out
    assert "rlkit resume many" in out
    assert json.loads((tmp_path / "many" / "seed-3" / "seeds.json").read_text()) == {"seed": 3}


@pytest.mark.slow
def test_a_signal_ends_all_and_they_go_on_from_their_folder(tmp_path: Path) -> None:
    asked = ("train", "ac", "CartPole-v1", "--seeds", 3, "--jobs", 2, "--run-dir", "many", "--stop-return", 1e9)
    with rlkit(tmp_path, *asked, "--stop-iters", 400, *SMALL) as process:
        logs = [tmp_path / "many" / f"seed-{seed}" / "progress.csv" for seed in (1, 2)]
        deadline = time.monotonic() + 200
        while not all(log.exists() and log.stat().st_size for log in logs):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    assert process.returncode == 128 + signal.SIGINT, err
    assert "Traceback" not in out + err
    rows = table(out)
    assert rows[1][0] == rows[2][0] == "interrupted"
    assert not (tmp_path / "many" / "seed-3").exists()
    assert "not begun" in out
    with rlkit(tmp_path.parent, "resume", tmp_path / "many", "--jobs", 3) as process:  # elsewhere
        out, err = process.communicate(timeout=280)
    assert process.returncode == 0, out + err
    for seed in (1, 2, 3):
        folder = tmp_path / "many" / f"seed-{seed}"
        with (folder / "progress.csv").open(newline="") as file:
            assert [int(row["training_iteration"]) for row in csv.DictReader(file)] == list(range(1, 401))
        assert json.loads((folder / "seeds.json").read_text()) == {"seed": seed}


def test_mistakes_are_said_once_before_any_process(tmp_path: Path) -> None:
    def said(*args: object) -> str:
        asked = ["train", "ac", "CartPole-v1", "--run-dir", str(tmp_path / "many"), *map(str, args)]
        result = CliRunner().invoke(cli, asked)
        assert (result.exit_code, result.stdout) == (2, "")
        assert not (tmp_path / "many").exists()
        return result.stderr

    assert "give --seeds too" in said("--jobs", 2)
    assert "rlkit resume FOLDER" in said("--seeds", 2, "--resume", "run")
    assert "expected a number" in said("--seeds", 2, "--set", "lr=fast")
    assert "minibatch_size" in said("--seeds", 2, "--set", "minibatch_size=9999")


def test_a_run_that_another_process_has_just_begun_is_left_alone(tmp_path: Path) -> None:
    about = {"format": 1, "arguments": ["train", "ac", "CartPole-v1"], "folder": str(tmp_path), "seeds": [1]}
    (tmp_path / "seed-1").mkdir()
    (tmp_path / "seed_runs.json").write_text(json.dumps(about))
    lock = RunLock(tmp_path / "seed-1", print)
    lock.take()
    result = CliRunner().invoke(cli, ["resume", str(tmp_path)])
    lock.release()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is in use by process" in result.stderr
    assert (tmp_path / "seed-1").is_dir()
    (tmp_path / "seed_runs.json").write_text("{}")
    assert "does not say which runs there are" in CliRunner().invoke(cli, ["resume", str(tmp_path)]).stderr


def test_the_mean_over_seeds_has_students_interval() -> None:
    mean, low, high = interval([4.0, 6.0, 5.0, 9.0, 1.0])  # of the textbook: 5 ± 2.776 * 2.9155 / sqrt(5)
    assert mean == 5.0
    assert high - mean == mean - low == pytest.approx(2.776445 * math.sqrt(8.5 / 5), rel=1e-3)
    assert interval([3.0])[0] == 3.0
    assert all(map(math.isnan, interval([3.0])[1:]))
    wide = interval([float(k % 7) for k in range(41)])
    spread = math.sqrt(sum((k % 7 - wide[0]) ** 2 for k in range(41)) / 40 / 41)
    assert wide[2] - wide[0] == pytest.approx(2.021075 * spread, rel=1e-3)  # 40 degrees of freedom


def test_a_table_of_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "summary.json").write_text(
        '{"reason": "solved", "evaluation_return_mean": 480.26, "steps": 51200, "seconds": 75.0}'
    )
    rows = [reached(1, tmp_path / "a", 0), reached(2, tmp_path / "b", 1), reached(3, tmp_path / "c", None)]
    assert [row.state for row in rows] == ["solved", "failed", "not begun"]
    assert reached(1, tmp_path / "a", 2).state == "failed"
    assert reached(1, tmp_path / "b", 130).state == reached(1, tmp_path / "b", -9).state == "interrupted"
    assert lines([attrs.evolve(row, folder=Path(row.folder.name)) for row in rows]) == [
        "seed state      return   steps  time  run folder",
        "   1 solved      480.3  51,200  1:15  a",
        "   2 failed          -       -     -  b",
        "   3 not begun       -       -     -  c",
        "mean return over 1 of 3 seeds: 480.3",
    ]
    assert lines([rows[1]])[-1] == "no seed was evaluated"


def test_the_words_of_a_command_but_some() -> None:
    got: list[Any] = []

    @click.command("go")
    @click.argument("what")
    @click.option("--times", type=int, default=3)
    @click.option("--set", "settings", multiple=True)
    @click.option("--quiet", is_flag=True)
    @click.option("--left", "left_out")
    @click.pass_context
    def go(ctx: click.Context, **given: Any) -> None:
        got.extend(words_of(ctx, "left_out"))

    CliRunner().invoke(go, ["x y", "--set", "a=1", "--quiet", "--set", "b=[2, 3]", "--left", "1"])
    assert got == ["go", "x y", "--set", "a=1", "--set", "b=[2, 3]", "--quiet"]
