"""SAC on Pendulum-v1, side by side: rlkit, recorded and eager, a CleanRL-style bare loop and Stable-Baselines3.

One env, an update of 256 transitions after every step, networks of 256-256. See ``side_by_side.py`` for the how. With
``--update`` only the gradient step is timed, on one batch, ours and the bare loop's in turn.

    make bench-sac                                   five rounds of 3,000 steps
    make bench-sac ARGS="--update --json out.json"
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import click
from side_by_side import ROOT, describe_machine, print_report, report_of, rounds_of, run_script

PEERS = Path(__file__).resolve().parent / "peers"
SCRIPTS: dict[str, tuple[Path, tuple[str, ...]]] = {
    "ours": (PEERS / "ours_sac.py", ()),
    "ours-eager": (PEERS / "ours_sac.py", ("--eager",)),
    "bare": (PEERS / "bare_sac.py", ()),
    "sb3": (PEERS / "sb3_sac_pendulum.py", ()),
}


def run_worker(name: str, python: Path, *, steps: int, threads: int, seed: int) -> dict[str, Any]:
    """Run one worker to its end in a new process and return what it measured."""
    script, arguments = SCRIPTS[name]
    return run_script(script, name, python, steps=steps, threads=threads, seed=seed, arguments=arguments)


def updates(rounds: int, threads: int, seed: int, count: int = 100) -> dict[str, Any]:
    """Seconds of one update: medians of ``rounds`` rounds of ``count`` updates each, in turn, in this process."""
    sys.path.insert(0, str(PEERS))
    from _span import Work
    from bare_sac import BareSAC
    from ours_sac import build

    work = Work(steps=300, threads=threads, seed=seed)
    bare = BareSAC(work)
    bare.train()
    algos = {name: build(work, eager=eager) for name, eager in (("ours", False), ("ours-eager", True))}
    for algo in algos.values():
        while algo.num_env_steps_sampled_lifetime < work.steps:
            algo.training_step()

    def ours(algo: Any) -> None:
        batch = algo.sample_train_batch(1)
        algo.learner_group.update(batch=batch, timesteps=algo.timesteps, minibatch_size=256, reduce_metrics=False)

    calls = {"bare": lambda: bare.update(bare.sample())}
    calls |= {name: (lambda algo=algo: ours(algo)) for name, algo in algos.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(count):
                call()
            seconds[name].append((time.perf_counter() - start) / count)
    for algo in algos.values():
        algo.stop()
    ratios = {
        name: statistics.median(mine / theirs for mine, theirs in zip(seconds[name], seconds["bare"], strict=True))
        for name in algos
    }
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {"machine": describe_machine(), "threads": threads, "seconds": medians, "ratio_to_bare": ratios}


@click.command()
@click.option("--steps", default=3_000, show_default=True, help="Environment steps of each training.")
@click.option("--rounds", default=5, show_default=True, help="How often each worker runs.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="torch threads.")
@click.option("--seed", default=1, show_default=True, help="Seed of the first round.")
@click.option("--worker", "names", multiple=True, type=click.Choice(list(SCRIPTS)), help="Only these; repeatable.")
@click.option("--update", is_flag=True, help="Time the gradient step alone.")
@click.option(
    "--sb3-python",
    type=click.Path(path_type=Path),
    default=ROOT / ".bench-venv" / "bin" / "python",
    help="A Python with stable-baselines3.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every figure there.")
def main(
    steps: int,
    rounds: int,
    threads: int,
    seed: int,
    names: tuple[str, ...],
    update: bool,
    sb3_python: Path,
    json_path: Path | None,
) -> None:
    """Measure SAC beside a bare loop and Stable-Baselines3."""
    if update:
        report = updates(rounds, threads, seed)
        for name, ratio in report["ratio_to_bare"].items():
            took, bare = report["seconds"][name], report["seconds"]["bare"]
            click.echo(f"{name}: {took * 1e3:.2f} ms an update, {ratio:.2f} x the bare loop's {bare * 1e3:.2f} ms")
    else:
        pythons = {name: sb3_python if name == "sb3" else Path(sys.executable) for name in names or SCRIPTS}
        machine = describe_machine()
        results = rounds_of(run_worker, pythons, rounds=rounds, steps=steps, threads=threads, seed=seed)
        report = report_of(results, machine, steps=steps, rounds=rounds, threads=threads)
        print_report(report, "SAC, Pendulum-v1")
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
