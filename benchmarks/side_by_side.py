"""What the side-by-side benchmarks share: workers in fresh processes, rounds, ratios, the machine, the report.

The workers take turns within each round, so that a machine that warms up or gets busy touches all of them alike. Ratios
are taken within a round, then the median over rounds; their range is printed beside it. Workers whose names begin with
"ours" are compared with all the others.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent

#: Not of what is measured: figures, and what is made of them.
NOT_MEASURED = (":!benchmarks/results", ":!*.md", ":!*.png")

RunWorker = Callable[..., dict[str, Any]]


def run_script(
    script: Path, name: str, python: Path, *, steps: int, threads: int, seed: int, arguments: Sequence[str] = ()
) -> dict[str, Any]:
    """Run one worker to its end in a new process and return what it measured."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled
    command = [str(python), str(script), *arguments]
    command += ["--steps", str(steps), "--threads", str(threads), "--seed", str(seed)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise click.ClickException(f"worker '{name}' ended with status {done.returncode}:\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {"name": name, **result}


def one_round(
    run: RunWorker, names: Sequence[str], number: int, *, steps: int, threads: int, seed: int
) -> list[dict[str, Any]]:
    """Round ``number`` of all workers: everybody has the seed ``seed + number``, and another one begins each time."""
    turn = number % len(names)
    results = []
    for name in [*names[turn:], *names[:turn]]:
        result = run(name, steps=steps, threads=threads, seed=seed + number)
        click.echo(f"round {number + 1}  {name:>12}  {result['steps_per_second']:>12,.1f} a second", err=True)
        results.append({**result, "round": number, "seed": seed + number})
    return results


def summarise(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians per worker, and ratios of ours to each peer."""
    names = list(dict.fromkeys(result["name"] for result in results))
    workers = {}
    for name in names:
        rows = [result for result in results if result["name"] == name]
        returns = [row["mean_return"] for row in rows if row["mean_return"] is not None]
        workers[name] = {
            "steps_per_second": statistics.median(row["steps_per_second"] for row in rows),
            "peak_memory_mib": statistics.median(row["peak_memory_mib"] for row in rows),
            "mean_return": statistics.median(returns) if returns else None,
            "versions": rows[0]["versions"],
        }
    ours = [name for name in names if name.startswith("ours")]
    ratios = {
        f"{mine}/{peer}": {
            key: ratio_by_round(results, mine, peer, key) for key in ("steps_per_second", "peak_memory_mib")
        }
        for mine in ours
        for peer in names
        if peer not in ours
    }
    return {"workers": workers, "ratios": ratios}


def ratio_by_round(results: list[dict[str, Any]], mine: str, peer: str, key: str) -> dict[str, float]:
    """The worker ``mine`` divided by ``peer``, round by round: median, least and greatest."""
    by_round: dict[int, dict[str, float]] = {}
    for result in results:
        by_round.setdefault(result["round"], {})[result["name"]] = result[key]
    ratios = [values[mine] / values[peer] for values in by_round.values()]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def describe_machine() -> dict[str, Any]:
    """The processor, its load now, the Python, and the commit that is measured."""
    cpu = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_average": list(os.getloadavg()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(git("status", "--porcelain", "--untracked-files=no", "--", ".", *NOT_MEASURED)),
    }


def git(*arguments: str) -> str | None:
    """What git says, or None outside of a checkout."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def print_report(report: dict[str, Any], title: str, unit: str = "step") -> None:
    """The table, with the ratios below it."""
    about = f"{report['steps']:,} {unit}s, {report['rounds']} rounds, {report['threads']} thread(s)"
    table = Table(title=f"{title}: {about}")
    for heading in ("worker", f"{unit}s a second", "peak MiB", "mean return"):
        table.add_column(heading, justify="left" if heading == "worker" else "right")
    for name, worker in report["workers"].items():
        mean_return = "-" if worker["mean_return"] is None else f"{worker['mean_return']:.0f}"
        table.add_row(name, f"{worker['steps_per_second']:,.1f}", f"{worker['peak_memory_mib']:.0f}", mean_return)
    console = Console()
    console.print(table)
    for name, ratio in report["ratios"].items():
        speed, memory = ratio["steps_per_second"], ratio["peak_memory_mib"]
        console.print(
            f"{name}: speed x {speed['median']:.2f} ({speed['min']:.2f} to {speed['max']:.2f}), "
            f"memory x {memory['median']:.2f}",
            highlight=False,
        )
    machine = report["machine"]
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_average'][0]:.2f} at the start, "
        f"Python {machine['python']}, commit {machine['commit']}"
        + (" with uncommitted changes" if machine["uncommitted_changes"] else ""),
        highlight=False,
    )


def report_of(
    results: list[dict[str, Any]], machine: dict[str, Any], *, steps: int, rounds: int, threads: int
) -> dict[str, Any]:
    """Everything that is worth keeping of a run, JSON values."""
    about = {"machine": machine, "steps": steps, "rounds": rounds, "threads": threads}
    return {**about, **summarise(results), "results": results}
