"""IMPALA and APPO on CartPole-v1, side by side: rlkit and RLlib's new API stack on the same work.

Two runner processes of 8 envs, fragments of 50 steps, batches of 800, networks of 64-64, the learner in the driver.
What that leaves open is each library's default. The span begins once the first results are there, so that starting
processes is no part of it, and counts the steps sampled after that. Memory is the driver's alone. See
``side_by_side.py`` for the how.

    make bench-impala                                 three rounds of 100,000 steps, both algorithms
    make bench-impala ARGS="--algo appo --json out.json"
    make bench-impala ARGS="--algo impala --worker ours-ray --worker rllib"     rlkit's runners on Ray too

Where RLlib is not installed (``make bench-impala`` builds its environment), rlkit runs alone, and the report says so.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from side_by_side import ROOT, describe_machine, print_report, report_of, rounds_of, run_script

PEERS = Path(__file__).resolve().parent / "peers"
SCRIPTS = {"ours": PEERS / "ours_impala.py", "rllib": PEERS / "rllib_impala.py", "ours-ray": PEERS / "ours_impala.py"}
USUAL = ("ours", "rllib")
ALGORITHMS = ("impala", "appo")
RLLIB_PYTHON = ROOT / ".bench-venv-rllib" / "bin" / "python"


def run_worker(algo: str, name: str, python: Path, *, steps: int, threads: int, seed: int) -> dict[str, Any]:
    """Run one worker to its end in a new process and return what it measured."""
    arguments = ["--algo", algo, *(["--executor", "ray"] if name == "ours-ray" else [])]
    return run_script(SCRIPTS[name], name, python, steps=steps, threads=threads, seed=seed, arguments=arguments)


def measure(algo: str, pythons: dict[str, Path], *, rounds: int, steps: int, threads: int, seed: int) -> Any:
    """All rounds of one algorithm, as a report."""

    def run(name: str, python: Path, **order: int) -> dict[str, Any]:
        return run_worker(algo, name, python, **order)

    machine = describe_machine()
    results = rounds_of(run, pythons, rounds=rounds, steps=steps, threads=threads, seed=seed)
    return report_of(results, machine, steps=steps, rounds=rounds, threads=threads)


@click.command()
@click.option("--steps", default=100_000, show_default=True, help="Environment steps of each training.")
@click.option("--rounds", default=3, show_default=True, help="How often each worker runs.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="torch threads.")
@click.option("--seed", default=1, show_default=True, help="Seed of the first round.")
@click.option("--algo", "algos", multiple=True, type=click.Choice(ALGORITHMS), help="Only this one; repeatable.")
@click.option("--worker", "names", multiple=True, type=click.Choice(list(SCRIPTS)), help="Only these; repeatable.")
@click.option("--rllib-python", default=str(RLLIB_PYTHON), show_default=False, help="Python that has ray[rllib].")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every figure there.")
def main(
    steps: int,
    rounds: int,
    threads: int,
    seed: int,
    algos: tuple[str, ...],
    names: tuple[str, ...],
    rllib_python: str,
    json_path: Path | None,
) -> None:
    """Measure steps per second of IMPALA and APPO beside RLlib's."""
    pythons = {name: Path(sys.executable) for name in names or USUAL}
    missing = None
    if "rllib" in pythons:
        pythons["rllib"] = Path(rllib_python)
        if not pythons["rllib"].exists():
            del pythons["rllib"]
            missing = f"no Python with RLlib at {rllib_python}: rlkit ran alone. `make bench-impala` builds it."
            if not pythons:
                raise click.ClickException(missing)
    reports = {}
    for algo in algos or ALGORITHMS:
        reports[algo] = measure(algo, pythons, rounds=rounds, steps=steps, threads=threads, seed=seed)
        reports[algo]["missing"] = missing
        if json_path is not None:
            json_path.write_text(json.dumps(reports, indent=2) + "\n", encoding="utf-8")
        print_report(reports[algo], f"{algo.upper()}, CartPole-v1, 2 runners of 8 envs")
    if missing:
        click.echo(missing)


if __name__ == "__main__":
    main()
