"""Run races of rlkit and its peers: all of ``races.py``, or those that are named.

    make bench                                                all, five rounds each
    make bench ARGS="ppo_cartpole dqn_cartpole --rounds 3"    some
    make bench ARGS="--steps 1024 --rounds 1"                 a try; see below

After each round a race's file is written, ``speed-NAME.json``. A run that was ended goes on where it was when it is
begun again at the same commit, without changes of the code on either side; what is complete is not run again. Figures
of whole races go to ``benchmarks/results``, and the tables and the plot of README.md and the documentation are made
of them at the end. Those of a part of the workers, of other steps or with fewer than five rounds go to
``.benchmarks`` instead, unless ``--out`` says where.

A library that is not installed is left out, and the report says so (``make bench`` builds its environment).
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
import readme_tables
from races import PEERS, PYTHONS, RACES, RESULTS, ROOT, Race
from side_by_side import describe_machine, one_round, print_report, report_of, run_script

LEAST_ROUNDS = 5


def run_worker(race: Race, name: str, *, pythons: dict[str, Path], steps: int, threads: int, seed: int) -> Any:
    """Run one worker to its end in a new process and return what it measured."""
    worker = race.workers[name]
    python = Path(sys.executable) if worker.library is None else pythons[worker.library]
    order = {"steps": steps, "threads": threads, "seed": seed}
    return run_script(PEERS / f"{worker.script}.py", name, python, arguments=worker.arguments, **order)


def goes_on(before: dict[str, Any], race: Race, names: list[str], machine: dict[str, Any], steps: int) -> bool:
    """Whether an earlier report is of the same code, work and machine, so that further rounds belong to it."""
    same = all(before["machine"][key] == machine[key] for key in ("cpu", "cores", "python", "commit"))
    same = same and not (before["machine"]["uncommitted_changes"] or machine["uncommitted_changes"])
    return same and (before["steps"], before["threads"], set(before["workers"])) == (steps, race.threads, set(names))


def run_race(
    name: str,
    names: list[str],
    file: Path,
    *,
    pythons: dict[str, Path],
    rounds: int,
    steps: int,
    seed: int,
    again: bool,
) -> dict[str, Any]:
    """The rounds of a race that are not in its file yet; each is written there."""
    race, machine, results = RACES[name], describe_machine(), []
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() and not again else None
    if before is not None and goes_on(before, race, names, machine, steps):
        results, machine = before["results"], before["machine"]
    report = before or {}
    run = partial(run_worker, race, pythons=pythons)
    for number in range(len(results) // len(names), rounds):
        results += one_round(run, names, number, steps=steps, threads=race.threads, seed=seed)
        report = report_of(results, machine, steps=steps, rounds=number + 1, threads=race.threads)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


@click.command()
@click.argument("races", nargs=-1, type=click.Choice(list(RACES)), metavar="[RACE]...")
@click.option("--rounds", type=click.IntRange(1), default=LEAST_ROUNDS, show_default=True, help="Of each race.")
@click.option("--steps", type=click.IntRange(1), help="Of each worker in a round, at most.", show_default="by race")
@click.option("--seed", default=1, show_default=True, help="Of the first round.")
@click.option("--worker", "chosen", multiple=True, help="Only these of each race; repeatable.")
@click.option("--python", "given", multiple=True, help="sb3=PATH or rllib=PATH: a Python that has that library.")
@click.option("--again", is_flag=True, help="Begin anew where a file is of the same commit.")
@click.option("--out", type=click.Path(path_type=Path), help="The folder of the files.")
def main(
    races: tuple[str, ...],
    rounds: int,
    steps: int | None,
    seed: int,
    chosen: tuple[str, ...],
    given: tuple[str, ...],
    again: bool,
    out: Path | None,
) -> None:
    """Measure RACE by RACE; all of the usual ones unless some are named."""
    pythons = {**PYTHONS, **{library: Path(path) for library, _, path in (one.partition("=") for one in given)}}
    missing = {library for library, python in pythons.items() if not python.exists()}
    part = steps is not None or chosen or rounds < LEAST_ROUNDS
    folder = out or (ROOT / ".benchmarks" if part else RESULTS)
    without: set[str] = set()
    for name in races or [name for name, race in RACES.items() if race.usual]:
        race = RACES[name]
        without |= missing & {str(worker.library) for worker in race.workers.values()}
        names = [one for one, worker in race.workers.items() if worker.library not in missing]
        names = [one for one in names if not chosen or one in chosen]
        if not names:
            click.echo(f"{name}: none of its workers is chosen and installed", err=True)
            continue
        click.echo(f"{name}: {race.title}", err=True)
        file = folder / f"speed-{name}.json"
        work = {"steps": min(steps or race.steps, race.steps), "rounds": rounds, "seed": seed}
        print_report(run_race(name, names, file, pythons=pythons, again=again, **work), race.title, race.unit)
    for library in sorted(without):
        click.echo(f"Without {library}, which is not installed at {pythons[library]}; `make bench` builds it.")
    click.echo(readme_tables.targets(folder))
    readme_tables.write(folder)


if __name__ == "__main__":
    main()
