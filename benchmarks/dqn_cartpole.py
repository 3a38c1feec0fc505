"""DQN on CartPole-v1, side by side: rlkit, eager and captured, and a CleanRL-style bare loop on the same work.

One env, 4 steps and then one update of 64 transitions, networks of 64-64, the target copied every 500 steps. Workers
called ``together`` take 32 steps and then 8 such updates. See ``side_by_side.py`` for the how.

    make bench-dqn                                   five rounds of 40,000 steps
    make bench-dqn ARGS="--threads 2 --json out.json"
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from side_by_side import describe_machine, print_report, report_of, rounds_of, run_script

PEERS = Path(__file__).resolve().parent / "peers"
SCRIPTS: dict[str, tuple[Path, tuple[str, ...]]] = {
    "ours": (PEERS / "ours_dqn.py", ()),
    "ours-capture": (PEERS / "ours_dqn.py", ("--capture",)),
    "ours-together": (PEERS / "ours_dqn.py", ("--together",)),
    "ours-together-capture": (PEERS / "ours_dqn.py", ("--together", "--capture")),
    "bare": (PEERS / "bare_dqn.py", ()),
}


def run_worker(name: str, python: Path, *, steps: int, threads: int, seed: int) -> dict[str, Any]:
    """Run one worker to its end in a new process and return what it measured."""
    script, arguments = SCRIPTS[name]
    return run_script(script, name, python, steps=steps, threads=threads, seed=seed, arguments=arguments)


@click.command()
@click.option("--steps", default=40_000, show_default=True, help="Environment steps of each training.")
@click.option("--rounds", default=5, show_default=True, help="How often each worker runs.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="torch threads.")
@click.option("--seed", default=1, show_default=True, help="Seed of the first round.")
@click.option("--worker", "names", multiple=True, type=click.Choice(list(SCRIPTS)), help="Only these; repeatable.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every figure there.")
def main(steps: int, rounds: int, threads: int, seed: int, names: tuple[str, ...], json_path: Path | None) -> None:
    """Measure steps per second and peak memory of DQN beside a bare loop."""
    pythons = {name: Path(sys.executable) for name in names or SCRIPTS}
    machine = describe_machine()
    results = rounds_of(run_worker, pythons, rounds=rounds, steps=steps, threads=threads, seed=seed)
    report = report_of(results, machine, steps=steps, rounds=rounds, threads=threads)
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_report(report, "DQN, CartPole-v1")


if __name__ == "__main__":
    main()
