"""Learning tests: train with the command a user types, then let the checkpoint prove itself on other episodes.

:func:`reaches` is the protocol of published levels: every seed trains to the end of its budget, and what it has learned
by then counts, not the best that it ever was. :func:`train_to_level` stops early and is for smoke tests.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

RESULTS_VARIABLE = "RLKIT_RESULTS"
"""Names the directory that results are written to; nothing is written where it is not set."""
RUNS_VARIABLE = "RLKIT_LEARN_RUNS"
"""Names the directory where run folders stay, so that a test that was ended goes on; a temporary one otherwise."""
UNTIL_VARIABLE = "RLKIT_LEARN_UNTIL"
"""Seconds since 1970 after which training is interrupted, with a checkpoint, and said to be unfinished."""

SEEDS = (1, 2, 3)
EPISODES, MOST_EPISODES = 100, 2000
STANDARD_ERROR = 0.02
"""Of a mean return, as a share of it (of the level, where that is more); as many episodes are played as that takes."""
FLOOR, FLOOR_OF_NEGATIVE = 0.6, 1.5
"""What no seed may fall below, as a share of the level."""
CURVE_POINTS = 40


def reaches(
    algo: str,
    env: str,
    levels: Mapping[int, float],
    *,
    folder: Path,
    seeds: Sequence[int] = SEEDS,
    sampled: bool = False,
    episodes: int = EPISODES,
    options: Sequence[str] = (),
) -> dict[str, Any]:
    """Train every seed to the end of its budget, and judge the policy it has then.

    A level holds if the mean over the seeds' final policies reaches it, no seed is below 60 % of it (of a negative one:
    150 %), and each figure has a standard error of 2 % at most. A budget ends with the iteration that fills it.

    Args:
        algo: registered name; settings are what ``rlkit train`` takes by itself.
        env: environment id.
        levels: ``{env steps: mean return}``; where there are several, a run is judged, and goes on.
        folder: where run folders are made, unless ``RLKIT_LEARN_RUNS`` names one that stays.
        seeds: of the training runs; policies are judged on episodes of others.
        sampled: the level is one of sampled actions; deterministic ones are played and recorded as well.
        episodes: how many at least.
        options: further arguments of ``rlkit train``.

    Returns:
        What is recorded as ``learn-ALGO-ENV.json`` under ``RLKIT_RESULTS``, reached or missed.

    Raises:
        AssertionError: a command failed, or a level was missed.
        pytest.fail.Exception: ``RLKIT_LEARN_UNTIL`` came first.
    """
    folder = Path(os.environ.get(RUNS_VARIABLE) or folder)
    budgets = sorted(levels)
    by_budget: dict[int, list[dict[str, Any]]] = {within: [] for within in budgets}
    curves: dict[str, list[list[float]]] = {}
    unfinished: list[str] = []
    settings: Any = None
    for seed in seeds:
        run = folder / re.sub(r"[^\w.-]+", "-", f"{algo}-{env}-seed{seed}")
        for within in budgets:
            told = _Told(run)
            in_time = told.judged(within, levels[within]) or _train(algo, env, seed, within, run, options, told)
            log = run / "results.jsonl"
            lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
            curves[str(seed)] = learning_curve(lines, sampled=sampled)
            if not in_time:
                unfinished.append(f"seed {seed} at {curves[str(seed)][-1:]} of {within:,} steps; run folder {run}")
                break
            settings = json.loads((run / "config.json").read_text())
            row = told.judged(within, levels[within])
            if row is None:
                level, summary = levels[within], json.loads((run / "summary.json").read_text())
                row = {
                    "seed": seed,
                    "steps": summary["steps"],
                    "seconds": round(summary["seconds"], 1),
                    "cpu_seconds": told.cpu_seconds,
                    "first_reached": first_reached(lines, level, sampled=sampled),
                    **_judged(run, level, seed, episodes, sampled=False),
                    **(_judged(run, level, seed, episodes, sampled=True) if sampled else {}),
                }
                told.judge(within, level, row)
            by_budget[within].append(row)
    result = {
        "algorithm": algo,
        "environment": env,
        "levels": [
            {
                "within": within,
                "level": levels[within],
                "sampled": sampled,
                "seeds": rows,
                "missed": missed(levels[within], rows, sampled=sampled),
            }
            for within, rows in by_budget.items()
        ],
        "curves": curves,
        "unfinished": unfinished,
        "options": list(options),
        "settings": settings,
        "commit": _commit(),
        "python": platform.python_version(),
    }
    _record(result)
    if unfinished:
        pytest.fail(f"{algo} on {env}: not finished in time: {'; '.join(unfinished)}")
    problems = [f"{row['within']:,} steps: {text}" for row in result["levels"] for text in row["missed"]]
    assert not problems, f"{algo} on {env}: " + "; ".join(problems)
    return result


def missed(level: float, rows: Sequence[Mapping[str, Any]], *, sampled: bool = False) -> list[str]:
    """What keeps a level from holding, in words; empty where it holds.

    Args:
        level: mean return.
        rows: of the seeds, each with ``seed``, ``return`` and ``stderr``, of sampled actions ``return_sampled`` and
            ``stderr_sampled``.
        sampled: those count.
    """
    if not rows:
        return ["no seed was judged"]
    suffix = "_sampled" if sampled else ""
    returns = {row["seed"]: row[f"return{suffix}"] for row in rows}
    mean, floor = statistics.fmean(returns.values()), level * (FLOOR if level >= 0 else FLOOR_OF_NEGATIVE)
    problems = [] if mean >= level else [f"the mean over seeds is {mean:.4g}, the level {level:g}"]
    problems += [f"seed {k} made {value:.4g}, below {floor:g}" for k, value in returns.items() if not value >= floor]
    for row in rows:
        error = row[f"stderr{suffix}"]
        if not error <= _allowed_error(level, row[f"return{suffix}"]):
            problems.append(f"the return of seed {row['seed']} is known to {error:.3g} only")
    return problems


def learning_curve(lines: Sequence[Mapping[str, Any]], *, sampled: bool = False) -> list[list[float]]:
    """``[[steps, mean return], ...]`` of a run's evaluations (``sampled``: of its training), thinned out.

    Args:
        lines: of ``results.jsonl``.
        sampled: training's returns, of sampled actions, are the ones to look at.
    """
    points = _looks(lines, sampled=sampled)
    stride = max(1, -(-len(points) // CURVE_POINTS))
    return [[steps, round(value, 3)] for steps, value in points[::-1][::stride][::-1]]


def first_reached(lines: Sequence[Mapping[str, Any]], level: float, *, sampled: bool = False) -> int | None:
    """Env steps at the first look that was at the level; None where none was. See :func:`learning_curve`."""
    return next((int(steps) for steps, value in _looks(lines, sampled=sampled) if value >= level), None)


def _looks(lines: Sequence[Mapping[str, Any]], *, sampled: bool) -> list[tuple[int, float]]:
    found = []
    for line in lines:
        played = line["env_runners"] if sampled else line.get("evaluation", {}).get("env_runners", {})
        value = played.get("episode_return_mean")
        if isinstance(value, float | int) and math.isfinite(value):
            found.append((int(line["num_env_steps_sampled_lifetime"]), float(value)))
    return found


class _Told:
    """What a run folder that stays has to tell a test that goes on with it: its CPU seconds, and how it was judged.

    A run that went on to a later budget can be judged at an earlier one no more.
    """

    def __init__(self, run: Path) -> None:
        self._file = run / "learning-test.json"
        begun = (run / "run.json").exists()
        nothing = {"cpu_seconds": None if begun else 0.0, "judged": {}}
        self._values = json.loads(self._file.read_text()) if self._file.exists() else nothing

    @property
    def cpu_seconds(self) -> float | None:
        """Of training so far; None where it is not known."""
        value = self._values["cpu_seconds"]
        return None if value is None else round(value, 1)

    def trained(self, cpu_seconds: float) -> None:
        """So many CPU seconds more."""
        if self._values["cpu_seconds"] is not None:
            self._values["cpu_seconds"] += cpu_seconds
        self._write()

    def judged(self, within: int, level: float) -> dict[str, Any] | None:
        """The row of a budget, if it was made for this level."""
        found = self._values["judged"].get(str(within))
        return found["row"] if found is not None and found["level"] == level else None

    def judge(self, within: int, level: float, row: Mapping[str, Any]) -> None:
        """Keep the row of a budget."""
        self._values["judged"][str(within)] = {"level": level, "row": dict(row)}
        self._write()

    def _write(self) -> None:
        if self._file.parent.is_dir():
            self._file.write_text(json.dumps(self._values) + "\n")


def _train(algo: str, env: str, seed: int, within: int, run: Path, options: Sequence[str], told: _Told) -> bool:
    """Train, or go on; whether the budget was filled in time."""
    begun = run / "run.json"
    if begun.exists() and (run / "index.json").exists():
        limit = json.loads(begun.read_text())["stop"]["steps"]
        assert limit <= within, f"{run} was trained for {limit:,} steps already; remove it"
        command = ["resume", str(run), *(["--more-steps", str(within - limit)] if limit < within else [])]
    else:
        shutil.rmtree(run, ignore_errors=True)
        # A target that nothing reaches: evaluations happen as they would, and end nothing.
        command = ["train", algo, env, "--seed", str(seed), "--run-dir", str(run), "--stop-return", "1e9"]
        command += ["--stop-steps", str(within), "--evaluate", "2", *options]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    in_time = _interruptible([*command, "--no-plot", "--quiet"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told.trained(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return in_time


def _interruptible(arguments: Sequence[str]) -> bool:
    """Run the command, interrupt it (as Ctrl-C does) when it is time; whether it came to its end."""
    process = subprocess.Popen(_command(arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = None
    try:
        while said is None:
            try:
                _, said = process.communicate(timeout=1.0)
            except subprocess.TimeoutExpired:
                if time.time() > float(os.environ.get(UNTIL_VARIABLE, "inf")):
                    process.send_signal(signal.SIGINT)
                    process.communicate()
                    return False
    finally:
        process.kill()
    assert process.returncode == 0, f"rlkit {' '.join(arguments)} failed:\n{said[-3000:]}"
    return True


def _allowed_error(level: float, mean: float) -> float:
    return STANDARD_ERROR * max(abs(level), abs(mean))


def _judged(run: Path, level: float, seed: int, episodes: int, *, sampled: bool) -> dict[str, float]:
    """Mean return of a run's last weights, of as many episodes as its standard error asks for."""
    further = ["--sampled"] if sampled else []
    while True:
        arguments = ["--episodes", str(episodes), "--seed", str(seed + 1000), "--json", *further]
        played = json.loads(rlkit("evaluate", str(run), *arguments))
        assert played["num_episodes"] == episodes, f"{run}: {episodes - played['num_episodes']} episodes did not end"
        mean, error = played["episode_return_mean"], played["episode_return_stderr"]
        wanted = _allowed_error(level, mean)
        if error <= wanted or episodes >= MOST_EPISODES:
            break
        episodes = min(MOST_EPISODES, max(2 * episodes, math.ceil(1.2 * episodes * (error / wanted) ** 2)))
    suffix = "_sampled" if sampled else ""
    return {f"return{suffix}": mean, f"stderr{suffix}": error, f"episodes{suffix}": episodes}


def train_to_level(
    algo: str,
    env: str,
    *,
    level: float,
    within: int,
    seed: int,
    run_dir: Path,
    episodes: int = 100,
    options: tuple[str, ...] = (),
) -> None:
    """Run ``rlkit train`` until its preset is content, then ``rlkit evaluate`` its checkpoint on other episodes.

    The preset's ``stop`` return lies above the level, as a checkpoint that just reaches it would miss it half of the
    time on other episodes.

    Args:
        algo: registered name.
        env: environment id; settings come from the algorithm's preset.
        level: mean return over ``episodes`` deterministic episodes that both must reach.
        within: env steps that training may take.
        seed: of the training run; the checkpoint is tried on episodes of another.
        run_dir: a new folder for the run.
        episodes: how many.
        options: further arguments of ``rlkit train`` (``"--stop-return", "490"``, say, where there is no preset).

    Raises:
        AssertionError: a command failed, or a level was missed.
    """
    train = ["train", algo, env, "--seed", str(seed), "--run-dir", str(run_dir), "--no-plot", "--quiet"]
    train += ["--stop-steps", str(within), "--evaluate", str(episodes), *options]
    rlkit(*train)
    summary = json.loads((run_dir / "summary.json").read_text())
    seeds = ["--seed", str(seed + 1000)]
    again = json.loads(rlkit("evaluate", str(run_dir), "--episodes", str(episodes), *seeds, "--json"))
    made, steps = summary["evaluation_return_mean"], summary["steps"]
    assert made >= level, f"{algo} on {env}, seed {seed}: {made:.1f} after {steps} steps"
    assert steps <= within
    assert again["episode_return_mean"] >= level


def rlkit(*arguments: str) -> str:
    """Run the command and return what it printed.

    Raises:
        AssertionError: it failed.
    """
    done = subprocess.run(_command(arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"rlkit {' '.join(arguments)} failed:\n{done.stderr[-3000:]}"
    return done.stdout


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-c", "from rlkit_core.cli import main; main()", *arguments]


def _record(result: Mapping[str, Any]) -> None:
    folder = os.environ.get(RESULTS_VARIABLE)
    if not folder:
        return
    name = re.sub(r"[^\w.-]+", "-", f"learn-{result['algorithm']}-{result['environment']}") + ".json"
    file = Path(folder) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n")


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
