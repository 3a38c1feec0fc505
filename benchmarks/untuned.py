"""PPO without tuning: rlkit's settings chosen by an env's spaces beside Stable-Baselines3's defaults.

    python benchmarks/untuned.py --peer-python .venv-bench/bin/python --json benchmarks/results/untuned.json

Six envs that rlkit has no preset of their own for, three seeds, one after the other, ours and theirs in turn. Each
trains for the same env steps and then plays 200 deterministic episodes; what counts is the mean over seeds. Both sides
are what a user gets who sets nothing: ours is what `rlkit train` takes where no preset serves the env, theirs
`PPO(policy, env)`.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
from side_by_side import ROOT, describe_machine

ENVS = {
    "InvertedPendulum-v5": 30_000,
    "InvertedDoublePendulum-v5": 30_000,
    "Reacher-v5": 30_000,
    "Pusher-v5": 30_000,
    "FrozenLake-v1": 50_000,
    "Catch": 10_000,  # pictures; peers/_catch.py
}
PEERS = ROOT / "benchmarks" / "peers"


def run_worker(python: Path, script: str, env: str, steps: int, seed: int) -> dict[str, Any]:
    """One run of one side in a process of its own."""
    command = [str(python), str(PEERS / script), env, "--steps", str(steps), "--seed", str(seed)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise click.ClickException(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])  # type: ignore[no-any-return]


def compared(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, the standard error that the episodes leave of their difference, and whether ours is no less."""
    means = [statistics.fmean(run["return"] for run in runs) for runs in (ours, theirs)]
    errors = [math.sqrt(sum(run["stderr"] ** 2 for run in runs)) / len(runs) for runs in (ours, theirs)]
    return {
        "ours_mean": round(means[0], 4),
        "theirs_mean": round(means[1], 4),
        "stderr_of_difference": round(math.hypot(*errors), 4),
        "at_least": means[0] >= means[1],
    }


@click.command()
@click.option("--peer-python", type=click.Path(exists=True, path_type=Path), default=ROOT / ".venv-bench/bin/python")
@click.option("--seeds", default=3, show_default=True, help="How many, from 1.")
@click.option("--env", "names", multiple=True, type=click.Choice(list(ENVS)), help="Some of the envs only.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Where to put the report, after each env.")
def main(peer_python: Path, seeds: int, names: tuple[str, ...], file: Path | None) -> None:
    """Compare untuned PPO on six envs."""
    report: dict[str, Any] = {"machine": describe_machine(), "envs": {}}
    for env, steps in ENVS.items():
        if names and env not in names:
            continue
        ours, theirs = [], []
        for seed in range(1, seeds + 1):
            ours.append(run_worker(Path(sys.executable), "ours_untuned.py", env, steps, seed))
            theirs.append(run_worker(peer_python, "sb3_untuned.py", env, steps, seed))
            click.echo(f"{env} seed {seed}: ours {ours[-1]['return']:g}, theirs {theirs[-1]['return']:g}", err=True)
        report["envs"][env] = {"steps": steps, "ours": ours, "theirs": theirs, **compared(ours, theirs)}
        one = report["envs"][env]
        verdict = "at least" if one["at_least"] else "BELOW"
        click.echo(
            f"{env}: {one['ours_mean']:.4g} {verdict} {one['theirs_mean']:.4g} (± {one['stderr_of_difference']:.2g})"
        )
        if file is not None:
            file.write_text(json.dumps(report, indent=1) + "\n")
    if not all(one["at_least"] for one in report["envs"].values()):
        raise click.ClickException("some are below")


if __name__ == "__main__":
    main()
