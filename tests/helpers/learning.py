"""Learning tests: train with the command a user types, then let the checkpoint prove itself on other seeds."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

#: Directory that results are written to; nothing is written where it is not set.
RESULTS_VARIABLE = "RLKIT_RESULTS"


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
) -> dict[str, Any]:
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

    Returns:
        The row that is recorded under ``benchmarks/results``: returns, steps, seconds, settings, versions.

    Raises:
        AssertionError: a command failed, or a level was missed.
    """
    train = ["train", algo, env, "--seed", str(seed), "--run-dir", str(run_dir), "--no-plot", "--quiet"]
    train += ["--stop-steps", str(within), "--evaluate", str(episodes), *options]
    rlkit(*train)
    summary = json.loads((run_dir / "summary.json").read_text())
    seeds = ["--seed", str(seed + 1000)]
    again = json.loads(rlkit("evaluate", str(run_dir), "--episodes", str(episodes), *seeds, "--json"))
    row = {
        "algorithm": algo,
        "environment": env,
        "seed": seed,
        "level": level,
        "within_steps": within,
        "steps": summary["steps"],
        "seconds": round(summary["seconds"], 1),
        "return": summary["evaluation_return_mean"],
        "return_of_checkpoint_on_other_seeds": again["episode_return_mean"],
        "options": list(options),
        "settings": json.loads((run_dir / "config.json").read_text()),
        "commit": _commit(),
        "python": platform.python_version(),
    }
    _record(row)
    assert row["return"] >= level, f"{algo} on {env}, seed {seed}: {row['return']:.1f} after {row['steps']} steps"
    assert row["steps"] <= within
    assert row["return_of_checkpoint_on_other_seeds"] >= level
    return row


def rlkit(*arguments: str) -> str:
    """Run the command and return what it printed.

    Raises:
        AssertionError: it failed.
    """
    command = [sys.executable, "-c", "from rlkit_core.cli import main; main()", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"rlkit {' '.join(arguments)} failed:\n{done.stderr[-3000:]}"
    return done.stdout


def _record(row: dict[str, Any]) -> None:
    folder = os.environ.get(RESULTS_VARIABLE)
    if not folder:
        return
    name = re.sub(r"[^\w.-]+", "-", f"learn-{row['algorithm']}-{row['environment']}") + ".json"
    file = Path(folder) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(file.read_text()) if file.exists() else []
    rows = [r for r in rows if r["seed"] != row["seed"]] + [row]
    file.write_text(json.dumps(sorted(rows, key=lambda r: r["seed"]), indent=1) + "\n")


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
