"""Several agents: PPO on CartPoles of two agents beside RLlib's, and what an agent costs beside an env of its own.

Two agents with a module each, 8 envs and the learner in one process, 1,024 env steps an update, 4 epochs of minibatches
of 256 rows of each module. And a hundred agents of one module in one env, beside a hundred envs of one agent: CPU time
for a step of an agent. See ``side_by_side.py`` for the how. (Mean returns are no race: RLlib's are over the episodes of
the last iteration, ours over the last 20.)

    make bench-agents                                 three rounds of 40,960 steps
    make bench-agents ARGS="--check --json out.json"

Where RLlib is not installed (``make bench-agents`` builds its environment), rlkit runs alone, and the report says so.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from side_by_side import ROOT, describe_machine, print_report, report_of, rounds_of, run_script

PEERS = Path(__file__).resolve().parent / "peers"
SCRIPTS = {"ours": PEERS / "ours_agents.py", "rllib": PEERS / "rllib_agents.py"}
RLLIB_PYTHON = ROOT / ".bench-venv-rllib" / "bin" / "python"
LEAST_RATIO, MOST_COST = 6.0, 1.2


@click.command()
@click.option("--steps", default=40_960, show_default=True, help="Environment steps of each training.")
@click.option("--rounds", default=3, show_default=True, help="How often each worker runs.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="torch threads.")
@click.option("--seed", default=1, show_default=True, help="Seed of the first round.")
@click.option("--rllib-python", default=str(RLLIB_PYTHON), show_default=False, help="Python that has ray[rllib].")
@click.option("--check", is_flag=True, help="Exit with 1 where a limit is missed.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every figure there.")
def main(
    steps: int, rounds: int, threads: int, seed: int, rllib_python: str, check: bool, json_path: Path | None
) -> None:
    """Measure PPO with two agents beside RLlib's, and the cost of a crowd."""
    pythons = {"ours": Path(sys.executable)}
    missing = None
    if Path(rllib_python).exists():
        pythons["rllib"] = Path(rllib_python)
    else:
        missing = f"no Python with RLlib at {rllib_python}: rlkit ran alone. `make bench-agents` builds it."

    def run(name: str, python: Path, **order: int) -> dict[str, Any]:
        return run_script(SCRIPTS[name], name, python, **order)

    machine = describe_machine()
    results = rounds_of(run, pythons, rounds=rounds, steps=steps, threads=threads, seed=seed)
    report = report_of(results, machine, steps=steps, rounds=rounds, threads=threads)
    report["missing"] = missing
    report["crowd"] = crowd = run_script(
        PEERS / "ours_crowd.py", "crowd", Path(sys.executable), steps=100, threads=threads, seed=seed
    )
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_report(report, "PPO, CartPoles of two agents, 8 envs")
    click.echo(
        f"{crowd['agents']} agents in one env: {crowd['crowd']:.1f} us of CPU for a step of an agent; in as many envs "
        f"{crowd['alone']:.1f} us; ratio {crowd['ratio']:.2f} (at most {MOST_COST})"
    )
    if missing:
        click.echo(missing)
    faster = report["ratios"].get("ours/rllib", {}).get("steps_per_second", {}).get("median", LEAST_RATIO)
    if check and (faster < LEAST_RATIO or crowd["ratio"] > MOST_COST):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
