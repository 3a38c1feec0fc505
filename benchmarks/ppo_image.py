"""PPO on frames of 84 x 84 x 4 uint8, side by side: rlkit and a CleanRL-style bare loop on the same work.

8 envs, 128 steps, 4 epochs of minibatches of 256, convolutions 16/8/4 and 32/4/2, a dense layer of 128, two heads.
The frames are synthetic, so networks and data are measured, not an emulator. See ``side_by_side.py`` for the how.

    make bench-image                                  five rounds of 8,192 steps
    make bench-image ARGS="--threads 2 --json out.json"
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from side_by_side import describe_machine, print_report, report_of, rounds_of, run_script

HERE = Path(__file__).resolve().parent
SCRIPTS = {name: HERE / "peers" / f"{name}_ppo_image.py" for name in ("ours", "bare")}


def run_worker(name: str, python: Path, *, steps: int, threads: int, seed: int) -> dict[str, Any]:
    """Run one worker to its end in a new process and return what it measured."""
    return run_script(SCRIPTS[name], name, python, steps=steps, threads=threads, seed=seed)


@click.command()
@click.option("--steps", default=8_192, show_default=True, help="Environment steps of each training.")
@click.option("--rounds", default=5, show_default=True, help="How often each worker runs.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="torch threads.")
@click.option("--seed", default=1, show_default=True, help="Seed of the first round.")
@click.option("--worker", "names", multiple=True, type=click.Choice(list(SCRIPTS)), help="Only these; repeatable.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every figure there.")
def main(steps: int, rounds: int, threads: int, seed: int, names: tuple[str, ...], json_path: Path | None) -> None:
    """Measure steps per second and peak memory of PPO on frames beside a bare loop."""
    pythons = {name: Path(sys.executable) for name in names or SCRIPTS}
    machine = describe_machine()
    results = rounds_of(run_worker, pythons, rounds=rounds, steps=steps, threads=threads, seed=seed)
    report = report_of(results, machine, steps=steps, rounds=rounds, threads=threads)
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_report(report, "PPO, 84 x 84 x 4 frames")


if __name__ == "__main__":
    main()
