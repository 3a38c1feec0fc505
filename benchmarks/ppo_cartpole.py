"""PPO on CartPole-v1, side by side: rlkit, Stable-Baselines3 and a bare torch loop on the same work.

Every measurement is a fresh process, and the three take turns within each round, so that a machine that warms
up or gets busy touches all of them alike. The measured span is the training alone, from the first sample to
the end of the last update; imports and building are outside of it, in every worker. Ratios are taken within a
round, then the median over rounds; their range is printed beside it.

    make bench-ppo                                    five rounds of 102,400 steps
    make bench-ppo ARGS="--threads 2 --json out.json"
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from side_by_side import ROOT, describe_machine, print_report, report_of, rounds_of, run_script, summarise

HERE = Path(__file__).resolve().parent
SCRIPTS = {name: HERE / "peers" / f"{name}_ppo.py" for name in ("ours", "sb3", "bare")}
__all__ = ["SCRIPTS", "main", "run_rounds", "run_worker", "summarise"]
BENCH_PYTHON = ROOT / ".bench-venv" / "bin" / "python"


def run_worker(name: str, python: Path, *, steps: int, threads: int, seed: int) -> dict[str, Any]:
    """Run one worker to its end in a new process and return what it measured."""
    return run_script(SCRIPTS[name], name, python, steps=steps, threads=threads, seed=seed)


def run_rounds(pythons: dict[str, Path], *, rounds: int, steps: int, threads: int, seed: int) -> list[dict[str, Any]]:
    """All rounds of all workers."""
    return rounds_of(run_worker, pythons, rounds=rounds, steps=steps, threads=threads, seed=seed)


@click.command()
@click.option("--steps", default=102_400, show_default=True, help="Environment steps of each training.")
@click.option("--rounds", default=5, show_default=True, help="How often each worker runs.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="torch threads.")
@click.option("--seed", default=1, show_default=True, help="Seed of the first round.")
@click.option("--worker", "names", multiple=True, type=click.Choice(list(SCRIPTS)), help="Only these; repeatable.")
@click.option("--sb3-python", default=str(BENCH_PYTHON), show_default=False, help="Python that has SB3.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every figure there.")
def main(
    steps: int,
    rounds: int,
    threads: int,
    seed: int,
    names: tuple[str, ...],
    sb3_python: str,
    json_path: Path | None,
) -> None:
    """Measure steps per second and peak memory of PPO beside its peers."""
    pythons = {name: Path(sys.executable) for name in names or SCRIPTS}
    if "sb3" in pythons:
        pythons["sb3"] = Path(sb3_python)
        if not pythons["sb3"].exists():
            raise click.ClickException(
                f"no Python with Stable-Baselines3 at {sb3_python}. Run `make bench`, which builds it, "
                "or leave it out: --worker ours --worker bare"
            )
    machine = describe_machine()
    results = run_rounds(pythons, rounds=rounds, steps=steps, threads=threads, seed=seed)
    report = report_of(results, machine, steps=steps, rounds=rounds, threads=threads)
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_report(report, "PPO, CartPole-v1")


if __name__ == "__main__":
    main()
